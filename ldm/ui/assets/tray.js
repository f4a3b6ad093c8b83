const tray = $('.tray'), grid = $('.grid'), dialog = $('dialog');

const enlarge = (image) => {
  dialog.querySelector('img').src = image.src;
  dialog.querySelector('img').alt = image.alt;
  dialog.showModal();
};
const figure = () => {
  const made = make('figure'), image = make('img');
  const open = () => { if (!made.hasAttribute('data-preview')) enlarge(image); };
  image.addEventListener('click', open);
  image.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); open(); }
  });
  made.append(image, make('figcaption'));
  return made;
};
const fill = (place, picture, many) => {
  const image = place.querySelector('img'), caption = place.querySelector('figcaption');
  const url = picture.file ? picture.file.url : picture.src;
  if (image.getAttribute('src') !== url) image.src = url;
  image.alt = picture.alt || '';
  place.toggleAttribute('data-preview', !picture.file);
  if (!picture.file) { caption.replaceChildren(); image.removeAttribute('tabindex'); image.removeAttribute('role'); return; }
  image.tabIndex = 0;
  image.setAttribute('role', 'button');
  const seed = make('span', many ? picture.seed : ''), link = make('a');
  link.append(make('b', 'Save '), 'PNG');
  link.href = url;
  link.download = picture.file.orig_name || 'picture.png';
  link.setAttribute('aria-label', 'Save PNG, seed ' + picture.seed);
  caption.replaceChildren(seed, link);
};
const show = () => {
  const run = props.value?.state ? props.value : null;
  if (props.value?.empty) $('.empty').textContent = props.value.empty;
  tray.dataset.state = run ? run.state : 'empty';
  $('.line').textContent = run ? run.line : '';
  $('.note').textContent = run ? run.note : '';
  $('.bar').setAttribute('aria-valuenow', run ? Math.round(run.fraction * 100) : 0);
  $('.bar i').style.transform = `scaleX(${run ? run.fraction : 0})`;
  if (!run) { grid.replaceChildren(); return; }
  if (['done', 'stopped', 'paused', 'failed'].includes(run.state) && $('.said').textContent !== run.line) $('.said').textContent = run.line;
  const columns = run.count > 1 ? Math.ceil(Math.sqrt(run.count)) : 1;
  grid.toggleAttribute('data-many', run.count > 1);
  grid.style.setProperty('--columns', columns);
  grid.style.setProperty('--ratio', `${run.width} / ${run.height}`);
  grid.style.setProperty('--widest', columns > 1 ? `${Math.max(run.width, 160)}px` : `min(${Math.max(run.width, 512)}px, ${Math.round(70 * run.width / run.height)}vh)`);
  while (grid.children.length < run.pictures.length) grid.append(figure());
  // the old pictures stay until the first preview is there, so that the page does not jump
  if (run.pictures.length || run.over) while (grid.children.length > run.pictures.length) grid.lastChild.remove();
  run.pictures.forEach((picture, i) => fill(grid.children[i], picture, run.count > 1));
};
$('.close').addEventListener('click', () => dialog.close());
dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
watch('value', show);
show();
