// Below the slider: one thing to look at at a time.  A panel registers itself:
//   register({ name, title, there(run) -> true or why it is not there, build(body, run) -> {step(index), point(x, y, lane, type), close()} })
// It is built when it is first opened for a run, told of each flip while it is open, and closed for another run.
const register = (panel) => panels.push(panel);
let open = null, built = null;

const tabsBox = $('.panels .tabs'), bodies = $('.panels .bodies');
const shut = () => {
  if (built && built.close) built.close();
  built = null;
  bodies.replaceChildren();
};
const openPanel = (name) => {
  const panel = panels.find((each) => each.name === name);
  shut();
  open = name;
  for (const tab of tabsBox.children) {
    const on = tab.dataset.name === name;
    tab.setAttribute('aria-selected', on);
    tab.tabIndex = on ? 0 : -1;
  }
  if (!panel || !state.run) return;
  const body = make('div', null, { class: `panel ${name}`, role: 'tabpanel', 'aria-label': panel.title });
  bodies.append(body);
  const there = state.run.before && !panel.noising ? 'Switch the noising off to see this.' : panel.there(state.run);
  if (there === true) built = panel.build(body, state.run) || {};
  else body.append(make('p', there, { class: 'why' }));
  redraw();
};
tabsBox.addEventListener('keydown', (event) => {
  const tabs = [...tabsBox.children], at = tabs.indexOf(event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  const tab = tabs[(to + tabs.length) % tabs.length];
  openPanel(tab.dataset.name);
  tab.focus();
});
const layPanels = () => {
  if (tabsBox.children.length) return;
  for (const panel of panels) {
    const tab = make('button', panel.title, { type: 'button', role: 'tab', 'aria-selected': 'false', tabindex: '-1' });
    tab.dataset.name = panel.name;
    tab.addEventListener('click', () => openPanel(panel.name));
    tabsBox.append(tab);
  }
};
heard.step.push((index) => { if (built && built.step) built.step(index); });
heard.point.push((...about) => { if (built && built.point) built.point(...about); });
heard.run.push(() => { layPanels(); openPanel(open || panels[0].name); });

// A curve over the steps; a click goes to its step.
const plot = ({ title, values, log, unit }) => {
  const shown = values.map((value) => (value === null || !Number.isFinite(value) ? NaN : log ? Math.log10(Math.max(value, 1e-4)) : value));
  const real = shown.filter((value) => !Number.isNaN(value));
  const low = log ? Math.min(...real) : Math.min(0, ...real), high = Math.max(...real, low + 1e-9);
  const last = Math.max(1, values.length - 1);
  const points = shown.map((value, i) => [((100 * i) / last).toFixed(2), (96 - (92 * (value - low)) / (high - low)).toFixed(2)]).filter(([, y]) => y !== 'NaN');
  const picture = svg('svg', { class: 'plot', viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img',
    'aria-label': `${title}, from ${number(values[0])} to ${number(values[values.length - 1])}` });
  picture.append(
    svg('line', { class: 'floor', x1: 0, x2: 100, y1: 99, y2: 99 }),
    svg('path', { d: points.map(([x, y], i) => `${i ? 'L' : 'M'}${x} ${y}`).join('') }),
    svg('line', { class: 'cursor', x1: 0, x2: 0, y1: 0, y2: 99 })
  );
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    seek(Math.round((last * (event.clientX - box.left)) / box.width));
  };
  picture.addEventListener('pointerdown', (event) => { picture.setPointerCapture(event.pointerId); at(event); });
  picture.addEventListener('pointermove', (event) => { if (event.buttons) at(event); });
  const figure = make('figure', null, { class: 'curve' }), caption = make('figcaption'), ends = make('div', null, { class: 'ends' });
  caption.append(make('b', title), make('span'));
  ends.append(make('span', shortName(0)), make('span', values.length > 1 ? shortName(values.length - 1) : ''));
  figure.append(caption, picture, ends);
  const cursor = picture.querySelector('.cursor');
  return { figure, step: (index) => {
    cursor.setAttribute('x1', (100 * index) / last);
    cursor.setAttribute('x2', (100 * index) / last);
    caption.lastChild.textContent = `${number(values[index])}${unit || ''}`;
  } };
};
