// Many seeds, a few steps each: choose those that are to go on.
// value: {said, busy, ratio, tiles: [{run, seed, src, state, step}]}; src null is as before; what is chosen is kept here and sent with `proceed`.
const atlas = element.querySelector('.atlas'), grid = element.querySelector('.grid');
const go = element.querySelector('.proceed'), all = element.querySelector('.all');
const chosen = new Set();
const waiting = () => props.value.tiles.filter((tile) => tile.state === 'paused').map((tile) => tile.run);
const count = () => {
  const { busy } = props.value, there = waiting();
  go.textContent = chosen.size ? `Go on with ${chosen.size === 1 ? 'the chosen one' : `the ${chosen.size} chosen`}` : 'Go on with the chosen';
  go.disabled = busy || !chosen.size;
  all.hidden = busy || !there.length;
  all.textContent = chosen.size === there.length ? 'Choose none' : 'Choose all';
  element.querySelector('.foot').hidden = !busy && !there.length;
};
// One tile.  It stays when the server says more, so that nothing flickers and the focus stays where it is.
const figure = () => {
  const made = make('figure'), caption = make('figcaption');
  const tile = make('button', null, { type: 'button', class: 'tile' });
  const open = make('button', 'open', { type: 'button', class: 'open', title: 'Show this run in the player' });
  tile.addEventListener('click', () => {
    const { run } = made.dataset;
    if (chosen.has(run)) chosen.delete(run); else chosen.add(run);
    tile.setAttribute('aria-pressed', chosen.has(run));
    count();
  });
  open.addEventListener('click', () => {
    trigger('look', { run: made.dataset.run });
    document.querySelector('#steps-player')?.scrollIntoView({ behavior: 'smooth', block: 'start' });
  });
  caption.append(make('span', null, { class: 'seed' }), make('span', null, { class: 'step' }), open);
  made.append(tile, make('span', null, { class: 'tick', 'aria-hidden': 'true' }), caption);
  return made;
};
const fill = (made, given, busy) => {
  const tile = made.querySelector('.tile'), open = made.querySelector('.open'), rests = ['paused', 'done', 'stopped'].includes(given.state);
  const known = made.dataset.run === given.run;
  Object.assign(made.dataset, { run: given.run, state: given.state });
  tile.disabled = busy || given.state !== 'paused';
  tile.setAttribute('aria-label', `Seed ${given.seed}`);
  if (given.state === 'paused') tile.setAttribute('aria-pressed', chosen.has(given.run));
  else tile.removeAttribute('aria-pressed');
  const image = tile.querySelector('img');
  if (given.src === null) { if (!known) image?.remove(); } // it is there already
  else if (!given.src) image?.remove();
  else if (!image) tile.append(make('img', null, { src: given.src, alt: '' }));
  else if (image.getAttribute('src') !== given.src) image.src = given.src;
  made.querySelector('.seed').textContent = given.seed;
  made.querySelector('.step').textContent = given.step;
  made.querySelector('.step').hidden = given.state !== 'running';
  open.hidden = !rests;
  open.setAttribute('aria-label', `Open the run with seed ${given.seed}`);
};
go.addEventListener('click', () => { trigger('proceed', { runs: [...chosen] }); chosen.clear(); count(); });
all.addEventListener('click', () => {
  const there = waiting(), none = chosen.size === there.length;
  chosen.clear();
  if (!none) there.forEach((run) => chosen.add(run));
  show();
});
const show = () => {
  const given = props.value;
  atlas.hidden = !given || !given.tiles.length;
  if (!given) { chosen.clear(); return; }
  const there = new Set(waiting());
  for (const run of chosen) if (!there.has(run)) chosen.delete(run);
  element.querySelector('.said').textContent = given.said;
  atlas.toggleAttribute('data-busy', given.busy);
  grid.style.setProperty('--ratio', given.ratio);
  while (grid.children.length > given.tiles.length) grid.lastChild.remove();
  while (grid.children.length < given.tiles.length) grid.append(figure());
  given.tiles.forEach((tile, i) => fill(grid.children[i], tile, given.busy));
  count();
};
watch('value', show);
show();
