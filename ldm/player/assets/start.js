// What the host gives: null, or {run, other, live, address}.  Called again whenever it changes.
const show = () => {
  const given = props.value || {}, { run } = given;
  showLive(given.live || null);
  $('.empty').hidden = Boolean(run || given.live);
  $('.all').hidden = !run;
  if (!run) { pause(); state.run = null; return; }
  const before = state.run, same = Boolean(before && before.key === run.key);
  if (same) for (const lane of run.lanes) { // sheets that are loaded stay
    const loaded = laneOf(before, lane.name);
    if (loaded && loaded.sheet && lane.sheet && loaded.sheet.url === lane.sheet.url) Object.assign(lane, { bitmap: loaded.bitmap, loading: loaded.loading });
  }
  if (!same) pause();
  state.run = run;
  state.other = given.other || null;
  $('.prompt').textContent = run.prompt;
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
  if (!same || grown || state.index >= run.steps) state.index = run.steps - 1;
  tell('run', same && !grown);
  redraw();
};
watch('value', show);
show();
