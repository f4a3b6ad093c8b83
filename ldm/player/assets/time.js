// Going through the steps: the slider, playing, keys.
const range = $('.time');
const PLAY = 'M4 2.5v11l9-5.5z', PAUSE = 'M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z';
let playing = 0;

heard.step.push((index) => {
  const run = state.run, last = Math.max(1, run.steps - 1);
  range.value = index;
  range.style.setProperty('--done', `${(100 * index) / last}%`);
  range.setAttribute('aria-valuetext', stepName(index));
  root.dataset.step = index - (run.before || 0);
  $('.where').textContent = stepName(index);
  $('.numbers').textContent =
    `sigma ${number(run.sigma[index])} to ${number(run.sigma_next[index])}, timestep ${number(run.timestep[index])}`;
});

const pause = () => {
  cancelAnimationFrame(playing);
  playing = 0;
  $('.play path').setAttribute('d', PLAY);
  $('.play').setAttribute('aria-label', 'Play');
};
const pace = () => {
  const usual = Math.min(220, Math.max(1000 / 60, 3000 / state.run.steps));
  const ms = usual / +$('.speed select').value;
  return still.matches ? Math.max(500, ms) : ms; // who asked for less motion gets two steps a second at most
};
const play = () => {
  if (!state.run || !state.run.steps) return;
  if (state.index >= state.run.steps - 1) go(0);
  let then = performance.now(), due = 0;
  $('.play path').setAttribute('d', PAUSE);
  $('.play').setAttribute('aria-label', 'Pause');
  const tick = (now) => {
    due += (now - then) / pace();
    then = now;
    const whole = Math.floor(due);
    if (whole) {
      due -= whole;
      const loop = $('.loop input').checked, to = state.index + whole;
      go(to >= state.run.steps && loop ? 0 : to);
      if (to >= state.run.steps - 1 && !loop) { pause(); return; }
    }
    playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
};
const seek = (to) => { pause(); go(to); };

range.addEventListener('input', () => seek(+range.value));
$('.play').addEventListener('click', () => (playing ? pause() : play()));
const keys = {
  ArrowLeft: () => seek(state.index - 1), ArrowDown: () => seek(state.index - 1),
  ArrowRight: () => seek(state.index + 1), ArrowUp: () => seek(state.index + 1),
  PageDown: () => seek(state.index - 5), PageUp: () => seek(state.index + 5),
  Home: () => seek(0), End: () => seek(state.run.steps - 1),
  ' ': () => (playing ? pause() : play()),
};
const onKey = (event) => {
  if (!root.isConnected) { document.removeEventListener('keydown', onKey); return; }
  const { target } = event;
  // from anywhere on this page, unless the key belongs to what has the focus
  const own = target === range || target === root;
  const busy = !own && target.closest && target.closest('input, textarea, select, summary, [role=tab], [role=listbox], [role=slider], [contenteditable], dialog');
  const button = target.closest && target.closest('button, a, label');
  if (!state.run || !state.run.steps || !root.offsetParent || event.altKey || event.ctrlKey || event.metaKey) return;
  if (busy || !(event.key in keys) || (event.key === ' ' && button)) return;
  event.preventDefault();
  keys[event.key]();
};
document.addEventListener('keydown', onKey);
heard.run.push(() => { range.max = Math.max(0, state.run.steps - 1); });
