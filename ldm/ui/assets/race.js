// Several samplers from one noise, side by side at equal work or equal noise, and how far each is from a fine run.
// value: {said, fraction, busy, note, fine: {name, steps, src}, runs: [...], rows: {calls, sigma}}; a row is
// [network calls or noise level, [the step of each run that stands there, null before its first]].
const rows = $('.rows'), slider = $('.ask input'), output = $('.ask output');
const TONES = ['#e0653f', '#4f8fd6', '#a87f0c', '#468f57', '#b06ac0', '#8b8178', '#2b8f8f', '#d0678f'];
const DASHES = ['', '', '', '', '7 3', '2 3', '10 3 2 3', '4 4']; // colours alone do not tell eight lines apart
let race = null, sheets = new Map(), known = '';
const number = (value) => (value === null || value === undefined || !Number.isFinite(value) ? '–' : value === 0 ? '0' : Math.abs(value) >= 10 ? value.toFixed(0) : value.toPrecision(2));
const by = () => element.querySelector('input[name=race-by]:checked').value;
const toneOf = (i) => ({ stroke: TONES[i % TONES.length], 'stroke-dasharray': DASHES[i % DASHES.length] });
const swatch = (i) => {
  const made = svg('svg', { class: 'tone', viewBox: '0 0 18 4', 'aria-hidden': 'true' });
  made.append(svg('line', { x1: 0, x2: 18, y1: 2, y2: 2, ...toneOf(i) }));
  return made;
};
const nameOf = (run, i) => {
  const made = make('button', null, { type: 'button', class: 'name', title: 'Show this run in the player' });
  made.append(swatch(i), make('span', run.name));
  made.addEventListener('click', () => {
    trigger('look', { run: run.run });
    document.querySelector('#steps-player')?.scrollIntoView({ behavior: 'smooth', block: 'start' });
  });
  return made;
};

const ways = { calls: (value) => value, sigma: (value) => -Math.atan(value) }; // noise as an angle: as far apart as pictures look
const draw = () => {
  if (!race || !race.runs.length) return;
  const all = race.rows[by()], [at, steps] = all[Math.min(all.length - 1, +slider.value)];
  output.textContent = by() === 'calls' ? `${at} network ${at === 1 ? 'call' : 'calls'}` : `down to sigma ${number(at)}`;
  slider.setAttribute('aria-valuetext', output.textContent);
  slider.style.setProperty('--done', `${(100 * slider.value) / Math.max(1, slider.max)}%`);
  race.runs.forEach((run, i) => {
    const figure = rows.querySelector(`[data-run="${run.run}"]`), context = figure.querySelector('canvas').getContext('2d');
    const step = steps[i], sheet = sheets.get(run.run), { width, height } = context.canvas;
    context.clearRect(0, 0, width, height);
    if (sheet && sheet.width && step !== null) {
      const w = sheet.width / run.columns, h = sheet.height / run.rows;
      context.drawImage(sheet, (step % run.columns) * w, Math.floor(step / run.columns) * h, w, h, 0, 0, width, height);
    }
    figure.dataset.step = step === null ? '' : step;
    const [where, away] = figure.querySelectorAll('.state');
    where.textContent = step === null ? 'not begun' : `step ${step + 1} of ${run.steps}`;
    away.textContent = step === null ? '' : `${number(run.x0_distance[step])} away`;
  });
  for (const line of element.querySelectorAll('line.cursor')) {
    const mine = line.dataset.by === by(), [low, high] = [+line.dataset.low, +line.dataset.high];
    const x = (100 * (ways[by()](at) - low)) / (high - low || 1);
    line.toggleAttribute('hidden', !mine);
    line.style.display = mine ? '' : 'none';
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
  }
};

// ticks of a logarithmic axis: powers of ten, and 2 and 5 of them where there are few
const ticks = (low, high) => {
  const found = (times) => {
    const all = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) for (const t of times) all.push(t * 10 ** e);
    return all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  };
  const few = found([1]);
  return few.length >= 3 ? few : found([1, 2, 5]);
};
const label = (text, kind, at) => make('i', text, { class: kind, style: kind === 'y' ? `top: ${at}%` : `left: ${at}%` });
// Distances over calls or noise, logarithmic; the line says where the pictures above stand.
const plot = ({ title, said, way, x, y, marks }) => {
  const lines = race.runs.map((run) => run[x].map((value, i) => [ways[way](value), run[y][i]]).filter(([, value]) => value > 0));
  const xs = race.runs.flatMap((run) => run[x].map(ways[way])), ys = lines.flat().map(([, value]) => value);
  const left = Math.min(...xs), right = Math.max(...xs), low = Math.min(...ys), high = Math.max(...ys);
  const across = (value) => (100 * (value - left)) / (right - left || 1);
  const up = (value) => 100 - (100 * Math.log(value / low)) / (Math.log(high / low) || 1);
  const figure = make('figure'), caption = make('figcaption'), area = make('div', null, { class: 'area' });
  const picture = svg('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}. The table below has the numbers.` });
  for (const value of ticks(low, high)) {
    picture.append(svg('line', { x1: 0, x2: 100, y1: up(value), y2: up(value) }));
    area.append(label(`${+value.toPrecision(1)}`, 'y', up(value)));
  }
  picture.append(svg('line', { class: 'cursor', y1: 0, y2: 100, x1: 0, x2: 0, 'data-by': way, 'data-low': left, 'data-high': right }));
  lines.forEach((line, i) => picture.append(svg('path', { ...toneOf(i), d: line.map(([at, value], k) => `${k ? 'L' : 'M'}${across(at).toFixed(2)} ${up(value).toFixed(2)}`).join('') })));
  const places = marks(left, right).map(([value, text]) => [across(value), text]);
  places.forEach(([at, text], i) => area.append(label(text, `x${i === 0 ? ' first' : i === places.length - 1 ? ' last' : ''}`, at)));
  caption.append(make('b', title), make('span', said));
  area.prepend(picture);
  figure.append(caption, area);
  return figure;
};
const plots = () => [
  plot({
    title: 'How far the predicted picture is from the fine run’s', said: 'RMS of latents, logarithmic, over network calls',
    way: 'calls', x: 'calls', y: 'x0_distance',
    marks: (left, right) => [[left, `${left}`], [Math.round((left + right) / 2), `${Math.round((left + right) / 2)}`], [right, `${right} calls`]],
  }),
  plot({
    title: 'How far it has left the fine run’s path', said: 'RMS of latents at unit variance, logarithmic, from noise to picture',
    way: 'sigma', x: 'sigma_next', y: 'x_distance',
    marks: (left, right) => [[left, 'noise'], ...[10, 1, 0.1].map((s) => [-Math.atan(s), `${s}`]).filter(([at]) => at > left + 0.12 * (right - left) && at < right - 0.12 * (right - left)), [right, 'picture']],
  }),
];
const table = () => {
  const head = make('tr'), finals = race.runs.map((run) => run.final_distance ?? Infinity);
  head.append(...['Sampler', 'Steps', 'Network calls', 'Distance in the end', ''].map((text) => make('th', text, { scope: 'col' })));
  const lines = race.runs.map((run, i) => {
    const line = make('tr'), first = make('td');
    first.append(nameOf(run, i));
    line.append(first, make('td', run.steps), make('td', run.calls[run.calls.length - 1]), make('td', number(run.final_distance)), make('td', run.fresh ? 'draws fresh noise' : '', { class: 'why' }));
    if (finals[i] === Math.min(...finals) && finals.length > 1) line.dataset.best = '';
    return line;
  });
  $('table').replaceChildren(head, ...lines);
};
const lay = () => {
  const last = race.rows[by()].length - 1, ended = +slider.value >= +slider.max;
  slider.max = last;
  if (ended || +slider.value > last) slider.value = last;
  draw();
};
const figures = () => {
  const made = race.runs.map((run, i) => {
    const figure = make('figure', null, { 'data-run': run.run }), caption = make('figcaption');
    const canvas = make('canvas', null, { role: 'img', 'aria-label': `Predicted picture of ${run.name}` });
    canvas.width = run.width; canvas.height = run.height;
    caption.append(nameOf(run, i), make('span', null, { class: 'state' }), make('span', null, { class: 'state' }));
    figure.append(canvas, caption);
    return figure;
  });
  if (race.fine) {
    const fine = make('figure', null, { class: 'fine' }), caption = make('figcaption');
    caption.append(make('span', 'The fine run', { class: 'name' }), make('span', `${race.fine.steps} steps`, { class: 'state' }), make('span', race.fine.name, { class: 'state' }));
    fine.append(make('img', null, { src: race.fine.src, alt: 'The picture of the fine run' }), caption);
    made.unshift(fine);
  }
  rows.style.setProperty('--count', made.length);
  rows.replaceChildren(...made);
};
const load = (run) => {
  if (sheets.has(run.run)) return;
  const image = new Image();
  sheets.set(run.run, image);
  image.onload = draw;
  image.src = run.sheet.url;
};
const show = () => {
  const given = props.value;
  $('.race').hidden = !given;
  if (!given) { race = null; return; }
  if ($('.said').textContent !== given.said) $('.said').textContent = given.said;
  $('.bar').hidden = !given.busy;
  $('.bar').style.setProperty('--fraction', given.fraction);
  // only the line changes while a run is drawn
  const mark = JSON.stringify([given.fine && given.fine.src.length, given.runs.map((run) => run.run)]);
  if (mark === known) return;
  known = mark;
  race = given;
  if (!race.runs.length) { sheets = new Map(); slider.max = slider.value = 0; }
  for (const one of [$('.at'), $('.scroll'), $('.plots')]) one.hidden = !race.runs.length;
  $('.note').textContent = race.note;
  $('.note').hidden = !race.note;
  if (race.runs.length) rows.style.setProperty('--ratio', `${race.runs[0].width} / ${race.runs[0].height}`);
  figures();
  if (!race.runs.length) { $('.plots').replaceChildren(); return; }
  race.runs.forEach(load);
  $('.plots').replaceChildren(...plots());
  table();
  lay();
};
slider.addEventListener('input', draw);
for (const radio of element.querySelectorAll('input[name=race-by]')) radio.addEventListener('change', () => { slider.value = slider.max; lay(); });
watch('value', show);
show();
