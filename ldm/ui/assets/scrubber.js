// Flips through the steps of a run in the browser.  All pictures lie on one sheet; a flip is one drawImage per lane.
const $ = (query) => element.querySelector(query);
const root = $('.scrub'), range = $('input[type=range]'), lanes = $('.lanes'), curves = $('.curves');
const PLAY = 'M4 2.5v11l9-5.5z', PAUSE = 'M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z';
let run = null, sheet = null, index = 0, playing = 0, asked = false, loading = 0;

const make = (tag, text) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
};
const svg = (tag, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const number = (value) => (value === 0 ? '0' : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));

// pictures
const draw = () => {
  asked = false;
  if (!run || !sheet) return;
  const width = sheet.width / run.columns, height = sheet.height / run.rows;
  lanes.querySelectorAll('canvas').forEach((canvas, lane) => {
    const cell = lane * run.steps + index;
    const x = (cell % run.columns) * width, y = Math.floor(cell / run.columns) * height;
    canvas.getContext('2d').drawImage(sheet, x, y, width, height, 0, 0, canvas.width, canvas.height);
  });
  const last = Math.max(1, run.steps - 1);
  range.value = index;
  range.style.setProperty('--done', `${(100 * index) / last}%`);
  range.setAttribute('aria-valuetext', `step ${index + 1} of ${run.steps}`);
  root.dataset.step = index;
  $('.where').textContent = `step ${index + 1} of ${run.steps}`;
  $('.numbers').textContent =
    `sigma ${number(run.sigma[index])} to ${number(run.sigma_next[index])}, timestep ${number(run.timestep[index])}`;
  curves.querySelectorAll('figure').forEach((figure, i) => {
    const at = (100 * index) / last;
    const cursor = figure.querySelector('.cursor');
    cursor.setAttribute('x1', at);
    cursor.setAttribute('x2', at);
    figure.querySelector('span').textContent = number(run.curves[i].values[index]);
  });
};
const go = (to) => {
  if (!run) return;
  index = Math.min(run.steps - 1, Math.max(0, to));
  if (!asked) { asked = true; requestAnimationFrame(draw); }
};

// playing
const pause = () => {
  cancelAnimationFrame(playing);
  playing = 0;
  $('.play path').setAttribute('d', PLAY);
  $('.play').setAttribute('aria-label', 'Play');
};
const play = () => {
  if (!run) return;
  if (index >= run.steps - 1) go(0);
  const pace = Math.min(220, Math.max(1000 / 60, 3000 / run.steps));
  let begun = performance.now() - index * pace;
  $('.play path').setAttribute('d', PAUSE);
  $('.play').setAttribute('aria-label', 'Pause');
  const tick = (now) => {
    go(Math.floor(Math.max(0, now - begun) / pace));
    if (index >= run.steps - 1) pause();
    else playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
};
const seek = (to) => { pause(); go(to); };

// lanes and curves of a run
const lane = ({ name, title, how }) => {
  const figure = make('figure'), view = make('div'), canvas = make('canvas'), caption = make('figcaption');
  figure.dataset.name = name;
  view.className = 'view';
  canvas.width = run.width;
  canvas.height = run.height;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `${title}, ${how}`);
  view.append(canvas, make('i'));
  caption.append(make('b', title), how);
  figure.append(view, caption);
  // one point in all lanes
  view.addEventListener('pointermove', (event) => {
    const box = view.getBoundingClientRect();
    lanes.style.setProperty('--x', `${(100 * (event.clientX - box.left)) / box.width}%`);
    lanes.style.setProperty('--y', `${(100 * (event.clientY - box.top)) / box.height}%`);
    lanes.toggleAttribute('data-point', true);
  });
  view.addEventListener('pointerleave', () => lanes.toggleAttribute('data-point', false));
  return figure;
};
const curve = ({ title, values, log }) => {
  const shown = values.map((value) => (log ? Math.log10(Math.max(value, 1e-4)) : value));
  const low = log ? Math.min(...shown) : 0, high = Math.max(...shown, low + 1e-9);
  const last = Math.max(1, values.length - 1);
  const points = shown.map((value, i) => `${((100 * i) / last).toFixed(2)} ${(96 - (92 * (value - low)) / (high - low)).toFixed(2)}`);
  const plot = svg('svg', { class: 'plot', viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img',
    'aria-label': `${title}, from ${number(values[0])} to ${number(values[values.length - 1])}` });
  plot.append(
    svg('line', { class: 'floor', x1: 0, x2: 100, y1: 99, y2: 99 }),
    svg('path', { d: 'M' + points.join('L') }),
    svg('line', { class: 'cursor', x1: 0, x2: 0, y1: 0, y2: 99 })
  );
  const at = (event) => {
    const box = plot.getBoundingClientRect();
    seek(Math.round((last * (event.clientX - box.left)) / box.width));
  };
  plot.addEventListener('pointerdown', (event) => { plot.setPointerCapture(event.pointerId); at(event); });
  plot.addEventListener('pointermove', (event) => { if (event.buttons) at(event); });
  const figure = make('figure'), caption = make('figcaption'), ends = make('div');
  caption.append(make('b', title), make('span'));
  ends.className = 'ends';
  ends.append(make('span', 'step 1'), make('span', `step ${values.length}`));
  figure.append(caption, plot, ends);
  return figure;
};
const show = async () => {
  const given = props.value, mine = ++loading;
  pause();
  $('.empty').hidden = Boolean(given);
  $('.all').hidden = !given;
  if (!given) { run = null; return; }
  const moves = given.steps > 0;
  for (const one of [lanes, curves, $('.control'), $('.numbers')]) one.hidden = !moves;
  $('.still').hidden = moves;
  $('.prompt').textContent = given.prompt;
  $('.facts').textContent = given.facts;
  if (!moves) { // a run without steps has a picture and nothing to go through
    run = null;
    $('.still img').src = given.still.url;
    $('.still figcaption').textContent = given.said;
    return;
  }
  const same = run && run.key === given.key;
  const loaded = await createImageBitmap(await (await fetch(given.atlas.url)).blob());
  if (mine !== loading) return; // a newer run came while this one was on its way
  run = given;
  sheet = loaded;
  range.max = run.steps - 1;
  lanes.replaceChildren(...run.lanes.map(lane));
  curves.replaceChildren(...run.curves.map(curve));
  go(same ? index : run.steps - 1);
};

// hands
range.addEventListener('input', () => seek(+range.value));
$('.play').addEventListener('click', () => (playing ? pause() : play()));
lanes.addEventListener('click', () => root.focus());
const keys = {
  ArrowLeft: () => seek(index - 1), ArrowDown: () => seek(index - 1),
  ArrowRight: () => seek(index + 1), ArrowUp: () => seek(index + 1),
  PageDown: () => seek(index - 5), PageUp: () => seek(index + 5),
  Home: () => seek(0), End: () => seek(run.steps - 1),
  ' ': () => (playing ? pause() : play()),
};
const onKey = (event) => {
  if (!root.isConnected) { document.removeEventListener('keydown', onKey); return; }
  const target = event.target;
  const inside = root.contains(target);
  // from anywhere on this tab, unless the key belongs to what has the focus
  const busy = target.closest && target.closest('input, textarea, select, button, summary, [role=tab], [role=listbox], [contenteditable]');
  if (!run || !root.offsetParent || event.altKey || event.ctrlKey || event.metaKey) return;
  if ((!inside && busy) || !(event.key in keys)) return;
  if (inside && event.key === ' ' && target.closest('button')) return;
  event.preventDefault();
  keys[event.key]();
};
document.addEventListener('keydown', onKey);
watch('value', show);
show();
