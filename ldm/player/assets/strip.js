// The film strip: every predicted picture, small, above the slider; while a run goes on, what has come so far.
const film = $('.film'), coming = $('.coming');
const THUMB = 44; // pixels

const drawFilm = () => {
  const run = state.run;
  if (!run || !run.steps || !film.clientWidth) return;
  const predicted = laneOf(run, 'x0'), noisy = run.before ? laneOf(run, 'x_t') : null;
  if (!predicted) return;
  Promise.all([predicted, noisy].filter(Boolean).map((each) => load(run, each))).then(() => {
    if (run !== state.run) return;
    const ratio = Math.min(2, devicePixelRatio || 1), wide = film.clientWidth;
    film.width = wide * ratio;
    film.height = THUMB * ratio;
    const context = film.getContext('2d');
    const each = Math.max(THUMB * (run.width / run.height), wide / run.steps);
    const count = Math.min(run.steps, Math.max(1, Math.ceil(wide / each - 0.01)));
    for (let i = 0; i < count; i++) {
      const index = count > 1 ? Math.round((i * (run.steps - 1)) / (count - 1)) : run.steps - 1;
      const lane = noisy && index < run.before ? noisy : predicted; // while noise is added the picture stays what it is
      const w = lane.bitmap.width / lane.columns, h = lane.bitmap.height / lane.rows;
      // where there is less room, the middle of the picture; where there is more, whole pictures from end to end
      const whole = film.height * (w / h), room = Math.min(whole, film.width / count), share = room / whole;
      const left = count > 1 ? Math.round((i * (film.width - room)) / (count - 1)) : 0;
      context.drawImage(lane.bitmap, (index % lane.columns) * w + (w * (1 - share)) / 2, Math.floor(index / lane.columns) * h, w * share, h, left, 0, Math.round(room) - ratio, film.height);
    }
  });
};
const onFilm = (event) => {
  const box = film.getBoundingClientRect();
  seek(Math.round(((event.clientX - box.left) / box.width) * (state.run.steps - 1)));
};
film.addEventListener('pointerdown', (event) => { film.setPointerCapture(event.pointerId); onFilm(event); });
film.addEventListener('pointermove', (event) => { if (event.buttons) onFilm(event); });
heard.run.push(() => requestAnimationFrame(drawFilm));
new ResizeObserver(drawFilm).observe(film);

// a run in progress: {key, line, fraction, frames: [[step, url], ...]}; frames are the new ones only
let live = null;
const showLive = (given) => {
  $('.live').hidden = !given;
  if (!given) { live = null; return; }
  if (!live || live.key !== given.key) { coming.replaceChildren(); live = { key: given.key, seen: new Set() }; }
  if ($('.live .line').textContent !== given.line) $('.live .line').textContent = given.line;
  $('.live .bar').style.setProperty('--fraction', given.fraction);
  for (const [step, url] of given.frames) {
    if (live.seen.has(step)) continue;
    live.seen.add(step);
    const image = make('img', null, { alt: '', src: url });
    image.dataset.step = step;
    const after = [...coming.children].find((each) => +each.dataset.step > step);
    coming.insertBefore(image, after || null);
    if (!after) coming.scrollLeft = coming.scrollWidth;
  }
};
