// The lanes: what each step saw and said, side by side.
const overlays = []; // functions (context, lane name, index, canvas) that draw on a lane after its picture

const laneOf = (run, name) => run.lanes.find((lane) => lane.name === name);
const shows = (name) => { const lane = laneOf(state.run, name); return Boolean(lane && !lane.why); }; // and not only why not
const load = async (run, lane) => {
  if (lane.bitmap || !lane.sheet) return;
  lane.loading ??= bitmap(lane.sheet.url);
  lane.bitmap = await lane.loading; // whoever else waits for this sheet may be the same lane of a newer pack
};

// One step of a lane, filling the canvas.
const paint = (context, run, name, index) => {
  const lane = laneOf(run, name), { width, height } = context.canvas;
  if (!lane || !lane.bitmap) { context.clearRect(0, 0, width, height); return false; }
  const w = lane.bitmap.width / lane.columns, h = lane.bitmap.height / lane.rows;
  context.imageSmoothingEnabled = !lane.pixels;
  context.drawImage(lane.bitmap, (index % lane.columns) * w, Math.floor(index / lane.columns) * h, w, h, 0, 0, width, height);
  return true;
};
// |a - b| of two steps, four times as bright.
const paintDifference = (context, a, b) => {
  const { width, height } = context.canvas;
  paint(context, ...a);
  const copy = paintDifference.copy ??= document.createElement('canvas');
  copy.width = width; copy.height = height;
  if (!paint(copy.getContext('2d'), ...b)) return;
  context.globalCompositeOperation = 'difference';
  context.drawImage(copy, 0, 0);
  context.globalCompositeOperation = 'lighter';
  for (let i = 0; i < 2; i++) context.drawImage(context.canvas, 0, 0);
  context.globalCompositeOperation = 'source-over';
};

const point = (view) => {
  view.append(make('i'));
  view.addEventListener('pointermove', (event) => {
    const box = view.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    lanes.style.setProperty('--x', `${100 * x}%`);
    lanes.style.setProperty('--y', `${100 * y}%`);
    lanes.toggleAttribute('data-point', true);
    tell('point', x, y, view.parentElement.dataset.name, event.type);
  });
  view.addEventListener('click', (event) => {
    const box = view.getBoundingClientRect();
    tell('point', (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, view.parentElement.dataset.name, 'click');
    root.focus({ preventScroll: true });
  });
  view.addEventListener('pointerleave', () => { lanes.toggleAttribute('data-point', false); tell('point', null, null, null, 'leave'); });
};
const canvasOf = (lane, label) => {
  const canvas = make('canvas', null, { role: 'img', 'aria-label': label });
  canvas.width = state.run.width;
  canvas.height = state.run.height;
  return canvas;
};
const figureOf = (lane) => {
  const figure = make('figure'), view = make('div'), caption = make('figcaption');
  figure.dataset.name = lane.name;
  figure.toggleAttribute('data-loading', Boolean(lane.sheet && !lane.bitmap));
  view.className = 'view';
  view.append(canvasOf(lane, `${lane.title}: ${state.run.prompt}`));
  point(view);
  caption.append(make('b', lane.title), make('span', lane.how));
  figure.append(view, caption);
  return figure;
};

// what lanes show where noise is only added: nothing is predicted there
const GIVEN = { x0: 'The picture x0', eps: 'The noise that is added', x0_cond: 'The picture x0' };
const drawLanes = (index) => {
  for (const figure of lanes.children) {
    const canvas = figure.querySelector('canvas'), context = canvas.getContext('2d');
    const name = figure.dataset.name;
    if (name === 'difference') {
      paintDifference(context, [state.run, 'x0', index], [state.run, 'x0', state.pinned]);
    } else {
      if (paint(context, state.run, name, index)) figure.removeAttribute('data-loading');
      if (state.run.before) figure.querySelector('b').textContent = (index < state.run.before && GIVEN[name]) || laneOf(state.run, name).title;
      for (const overlay of overlays) overlay(context, name, index, canvas);
    }
  }
};
heard.step.push(drawLanes);

// which lanes there are, and which are shown
const layLanes = () => {
  const figures = state.shown.map((name) => laneOf(state.run, name)).filter(Boolean).map(figureOf);
  if (state.pinned !== null) {
    const title = `Difference of x0 from ${shortName(state.pinned)}`;
    figures.push(figureOf({ name: 'difference', title, how: `|this step - ${shortName(state.pinned)}| of the lane x0, 4 times as bright` }));
  }
  lanes.replaceChildren(...figures);
  lanes.style.setProperty('--lanes', figures.length);
  const run = state.run;
  const needed = state.pinned === null ? state.shown : [...state.shown, 'x0'];
  Promise.all(needed.map((name) => laneOf(run, name)).filter(Boolean).map((lane) => load(run, lane))).then(() => { if (run === state.run) redraw(); });
};
const layPick = () => {
  const buttons = state.run.lanes.map((lane) => {
    const button = make('button', lane.short, { type: 'button', title: lane.why || lane.title, 'aria-pressed': state.shown.includes(lane.name) });
    button.disabled = Boolean(lane.why);
    button.dataset.lane = lane.name;
    button.addEventListener('click', () => {
      const on = !state.shown.includes(lane.name);
      if (!on && state.shown.length === 1) return; // one lane stays
      const order = state.run.lanes.map((each) => each.name);
      const kept = on ? [...state.shown, lane.name] : state.shown.filter((name) => name !== lane.name);
      state.wanted = state.shown = order.filter((name) => kept.includes(name));
      button.setAttribute('aria-pressed', on);
      layLanes();
    });
    return button;
  });
  const held = $('.pick').contains(document.activeElement) && document.activeElement.dataset.lane;
  $('.pick').replaceChildren(...buttons);
  if (held) buttons.find((each) => each.dataset.lane === held)?.focus({ preventScroll: true });
};
$('.pin').addEventListener('click', () => {
  state.pinned = state.pinned === null ? state.index : null;
  $('.pin').setAttribute('aria-pressed', state.pinned !== null);
  $('.pin').textContent = state.pinned === null ? 'Pin this step' : `Unpin ${shortName(state.pinned)}`;
  layLanes();
});
heard.run.push((same) => {
  if (!same) {
    state.pinned = null;
    $('.pin').setAttribute('aria-pressed', 'false');
    $('.pin').textContent = 'Pin this step';
  }
  const there = (state.wanted || []).filter(shows);
  if (!same || there.length) state.shown = there.length ? there : state.run.show.filter(shows);
  layPick();
  layLanes();
});
