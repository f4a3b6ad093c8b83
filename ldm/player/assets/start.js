// The run that is looked at stands in the page's address while the player can be seen, so that a refresh finds it.
let named = null;
const address = () => {
  if (props.value?.offline) return;
  const here = new URL(location.href), seen = root.offsetParent !== null;
  if (!seen && !element.isConnected) return;
  if (seen && named) here.searchParams.set('run', named);
  else here.searchParams.delete('run');
  if (here.href !== location.href) history.replaceState(history.state, '', here);
};
new ResizeObserver(address).observe(root);
$('.link').addEventListener('click', async () => {
  const here = new URL(location.href), said = $('.link');
  here.search = new URLSearchParams({ run: named });
  here.hash = '';
  try { await navigator.clipboard.writeText(here.href); } catch { // not allowed where the page is not secure
    const box = make('textarea', here.href);
    document.body.append(box);
    box.select();
    document.execCommand('copy');
    box.remove();
  }
  said.textContent = 'Copied';
  setTimeout(() => { said.textContent = 'Copy link'; }, 1500);
});

// A long prompt is cut after some lines, unless all of it is asked for.
const heading = $('.prompt'), rest = $('.rest');
const spread = (all) => {
  heading.toggleAttribute('data-all', all);
  rest.setAttribute('aria-expanded', all);
  rest.textContent = all ? 'Show less' : 'Show all of it';
  rest.hidden = !all && heading.scrollHeight <= heading.clientHeight + 1;
};
rest.addEventListener('click', () => spread(!heading.hasAttribute('data-all')));
new ResizeObserver(() => spread(heading.hasAttribute('data-all'))).observe(heading);

// A run may come as a file: what the page holds as a value gradio copies at every event.
const whole = async ({ file, ...known }) => {
  const found = await patient(async () => (await fetch(file.url)).json()), base = file.url.slice(0, file.url.indexOf('file=') + 5);
  const find = (value) => { // files in it lie where it does
    if (!value || typeof value !== 'object') return;
    if (typeof value.path === 'string' && value.meta) value.url = base + value.path.split('/').map(encodeURIComponent).join('/');
    else Object.values(value).forEach(find);
  };
  find(found);
  return { ...found, ...known };
};
// What the host gives: null, or {run, other, live}; {keep, live} leaves the run that is shown.  Called again
// whenever it changes.
let newest = 0;
const show = async () => {
  const given = { ...props.value };
  if (!given.keep) {
    const mine = ++newest, packs = ['run', 'other'].filter((name) => given[name]?.file);
    if (packs.length) {
      await Promise.all(packs.map(async (name) => { given[name] = await whole(given[name]); }));
      if (mine !== newest) return;
      if (props.value?.keep) given.live = props.value.live; // something is in progress again
    }
  }
  lay(given);
};
const lay = (given) => {
  const run = given.keep ? state.run : given.run;
  showLive(given.live || null);
  named = given.live?.address || run?.address || null;
  address();
  $('.empty').hidden = Boolean(run || given.live);
  $('.link').hidden = Boolean(given.offline) || !run?.address;
  const told = () => { if (headsTold && 'heads' in given) headsTold(given.heads); };
  if (given.keep) { told(); return; }
  $('.all').hidden = !run;
  if (!run) { pause(); state.run = null; return; }
  const before = state.run, same = Boolean(before && before.key === run.key);
  if (same) for (const lane of run.lanes) { // sheets that are loaded stay
    const loaded = laneOf(before, lane.name);
    if (loaded && loaded.sheet && lane.sheet && loaded.sheet.url === lane.sheet.url) Object.assign(lane, { bitmap: loaded.bitmap, loading: loaded.loading });
  }
  if (!same) pause();
  state.run = run;
  root.toggleAttribute('data-whole', Boolean(run.parts));
  state.other = given.other || null;
  heading.textContent = run.prompt;
  spread(same && heading.hasAttribute('data-all'));
  $('.facts').textContent = run.facts;
  const moves = run.steps > 0;
  for (const one of [lanes, $('.pick'), $('.control'), $('.under'), $('.panels')]) one.hidden = !moves;
  $('.still').hidden = moves;
  if (!moves) { // a run without steps has a picture and nothing to go through
    $('.still img').src = run.still.url;
    $('.still figcaption').textContent = run.said;
    return;
  }
  const grown = same && run.steps !== before.steps;
  if (!same || grown || state.index >= run.steps) state.index = run.before ? 0 : run.steps - 1;
  tell('run', same && !grown);
  redraw();
  told();
  if (run.before && !same && !still.matches) play(); // a movie: under the noise, and back
};
watch('value', show);
show();
