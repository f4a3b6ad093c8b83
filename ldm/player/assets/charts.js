// Drawings that several panels share.
const HEAT = ['000004', '1f0c48', '550f6d', '88226a', 'ba3655', 'e35933', 'f98c0a', 'f9c932', 'fcffa4']
  .map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
// A share from 0 to 1 as [r, g, b]; the same colours as `heat` in ldm/views/latents.py.
const heat = (share) => {
  const at = Math.min(1, Math.max(0, share)) * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(at));
  return HEAT[low].map((value, i) => Math.round(value + (at - low) * (HEAT[low + 1][i] - value)));
};
const cells = (values, width, height, colour) => { // one pixel per value, as a canvas
  const canvas = document.createElement('canvas'), image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set(colour(values[i], i), 4 * i);
  canvas.width = width; canvas.height = height;
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas;
};
// Lines over a common axis: series [{name, dashed, faint}], then set(name, values).
const chart = ({ title, x, from, to, log }) => {
  const picture = svg('svg', { class: 'plot chart', viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': title });
  picture.append(svg('line', { class: 'floor', x1: 0, x2: 100, y1: 99, y2: 99 }));
  const figure = make('figure', null, { class: 'curve' }), caption = make('figcaption'), ends = make('div', null, { class: 'ends' });
  caption.append(make('b', title), make('span'));
  ends.append(make('span', from), make('span', to));
  figure.append(caption, picture, ends);
  const scale = (value) => (log ? Math.log10(Math.max(value, 1e-6)) : value);
  let low = 0, high = 1;
  return {
    figure,
    say: (text) => { caption.lastChild.textContent = text; },
    range: (values) => {
      const all = values.map(scale).filter(Number.isFinite);
      low = log ? Math.min(...all) : Math.min(0, ...all);
      high = Math.max(...all, low + 1e-9);
    },
    line: (name) => {
      const path = svg('path', { class: name });
      picture.append(path);
      const first = x[0], wide = x[x.length - 1] - first || 1;
      return (values) => path.setAttribute('d', values.map((value, i) =>
        `${i ? 'L' : 'M'}${((100 * (x[i] - first)) / wide).toFixed(2)} ${(96 - (92 * (scale(value) - low)) / (high - low)).toFixed(2)}`).join(''));
    },
  };
};
// Bars over the steps; a click goes to one.
const bars = (title, count) => {
  const figure = make('figure', null, { class: 'curve' }), caption = make('figcaption'), ends = make('div', null, { class: 'ends' });
  const box = make('div', null, { class: 'bars', role: 'img', 'aria-label': title });
  const all = Array.from({ length: count }, (_, i) => { const bar = make('i'); bar.addEventListener('click', () => seek(i)); return bar; });
  box.append(...all);
  caption.append(make('b', title), make('span'));
  ends.append(make('span', 'step 1'), make('span', count > 1 ? `step ${count}` : ''));
  figure.append(caption, box, ends);
  const set = (given) => { box.dataset.values = JSON.stringify(given); const most = Math.max(...given, 1); given.forEach((value, i) => all[i].style.setProperty('--tall', `${(100 * value) / most}%`)); };
  return { figure, set, say: (text) => { caption.lastChild.textContent = text; }, at: (index) => all.forEach((bar, i) => bar.toggleAttribute('data-at', i === index)) };
};
