// Class numbers that are painted on a square, or come with a picture: a PNG whose grey levels are the numbers, in
// the value that goes to the server.  Each number has a colour here; the colours go nowhere.
const plate = $('.plate'), canvas = $('canvas'), which = $('.which'), size = $('input[type=range]');
const context = canvas.getContext('2d');
const BACK = 20; // strokes that can be taken back
const SHOWN = 40; // classes named below the picture
let numbers = new Uint8ClampedArray(0), before = [], last = null, mine, chosen = null, filling = false;
let classes = 1, names = {};

// a hue for each number, neighbours far apart; 0 is mostly what lies behind everything
const colour = (number) => {
  if (!number) return [72, 66, 62];
  const hue = (number * 137.508) % 360, light = 0.42 + 0.2 * ((number % 3) / 2);
  const part = (n) => { const k = (n + hue / 30) % 12; return light - 0.6 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1)); };
  return [0, 8, 4].map((n) => Math.round(255 * part(n)));
};
const css = (number) => `rgb(${colour(number)})`;
const named = (number) => (names[number] ? `${names[number]} (${number})` : `${number}`);
const draw = () => {
  const image = context.createImageData(canvas.width, canvas.height), { data } = image;
  const table = new Map();
  numbers.forEach((number, i) => {
    if (!table.has(number)) table.set(number, colour(number));
    data.set(table.get(number), 4 * i);
    data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
};
const counted = () => {
  const counts = new Map();
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
};
const swatch = (number) => {
  const made = document.createElement('b');
  made.style.setProperty('--colour', css(number));
  return made;
};
const legend = () => {
  const found = counted();
  $('.legend').replaceChildren(...found.slice(0, SHOWN).map(([number, count]) => {
    const made = document.createElement('button'), share = document.createElement('small');
    made.type = 'button';
    made.title = `Paint with ${named(number)}`;
    made.setAttribute('aria-pressed', number === chosen);
    share.textContent = `${Math.max(1, Math.round((100 * count) / numbers.length))} %`;
    made.append(swatch(number), named(number), share);
    made.addEventListener('click', () => choose(number));
    return made;
  }));
  const rest = found.length - SHOWN, beyond = found.map(([number]) => number).filter((number) => number >= classes);
  const blank = found.length === 1 && !props.value?.numbers;
  $('.said').textContent = beyond.length
    ? `This model knows the classes 0 to ${classes - 1}; the picture holds ${Math.max(...beyond)}.`
    : blank ? 'Nothing is painted yet: choose a class and paint, or drop a picture of class numbers above.'
      : rest > 0 ? `and ${rest} more classes.` : '';
  $('.undo').disabled = !before.length;
};
const choose = (number) => {
  chosen = number;
  which.value = named(number);
  which.setAttribute('aria-invalid', false);
  $('.class b').style.setProperty('--colour', css(number));
  legend();
};
const meant = (text) => {
  const lower = text.trim().toLowerCase(), digits = /^\d+$|\((\d+)\)$/.exec(lower);
  const number = digits ? +(digits[1] ?? digits[0]) : +(Object.keys(names).find((key) => names[key].toLowerCase() === lower) ?? -1);
  return number >= 0 && number < classes ? number : null;
};
const tell = () => {
  const sheet = document.createElement('canvas');
  sheet.width = canvas.width;
  sheet.height = canvas.height;
  const to = sheet.getContext('2d'), image = to.createImageData(sheet.width, sheet.height), { data } = image;
  numbers.forEach((number, i) => { data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = number; data[4 * i + 3] = 255; });
  to.putImageData(image, 0, 0);
  mine = sheet.toDataURL('image/png');
  props.value = { ...props.value, numbers: mine, own: true };
  legend();
};
const keep = () => {
  before.push(numbers.slice());
  if (before.length > BACK) before.shift();
};

// strokes
const place = (event) => {
  const box = plate.getBoundingClientRect();
  plate.style.setProperty('--x', `${event.clientX - box.left}px`);
  plate.style.setProperty('--y', `${event.clientY - box.top}px`);
  return { x: ((event.clientX - box.left) / box.width) * canvas.width, y: ((event.clientY - box.top) / box.height) * canvas.height };
};
const stroke = (from, to) => {
  const radius = Math.max(0.7, (size.value / 200) * canvas.width), { width, height } = canvas;
  const dx = to.x - from.x, dy = to.y - from.y, length = dx * dx + dy * dy || 1;
  const rows = [Math.min(from.y, to.y) - radius, Math.max(from.y, to.y) + radius];
  const columns = [Math.min(from.x, to.x) - radius, Math.max(from.x, to.x) + radius];
  for (let y = Math.max(0, Math.floor(rows[0])); y <= Math.min(height - 1, Math.ceil(rows[1])); y++) {
    for (let x = Math.max(0, Math.floor(columns[0])); x <= Math.min(width - 1, Math.ceil(columns[1])); x++) {
      const along = Math.min(1, Math.max(0, ((x + 0.5 - from.x) * dx + (y + 0.5 - from.y) * dy) / length));
      if (Math.hypot(x + 0.5 - from.x - along * dx, y + 0.5 - from.y - along * dy) <= radius) numbers[y * width + x] = chosen;
    }
  }
};
const flood = ({ x, y }) => {
  const { width } = canvas, start = Math.floor(y) * width + Math.floor(x), was = numbers[start], todo = [start];
  if (was === chosen || was === undefined) return;
  numbers[start] = chosen;
  while (todo.length) {
    const at = todo.pop(), column = at % width;
    const next = [at - width, at + width, column ? at - 1 : -1, column < width - 1 ? at + 1 : -1];
    for (const one of next) if (numbers[one] === was) { numbers[one] = chosen; todo.push(one); }
  }
};
canvas.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  keep();
  last = place(event);
  if (filling) flood(last); else stroke(last, last);
  draw();
});
canvas.addEventListener('pointermove', (event) => {
  plate.toggleAttribute('data-over', true);
  const here = place(event);
  if (!last || filling) return;
  stroke(last, here);
  last = here;
  draw();
});
const end = () => { if (last) { last = null; tell(); } };
canvas.addEventListener('pointerup', end);
canvas.addEventListener('pointercancel', end);
canvas.addEventListener('pointerleave', () => plate.toggleAttribute('data-over', false));

// tools
const brush = () => {
  plate.style.setProperty('--brush', `${size.value}%`);
  size.style.setProperty('--done', `${(100 * (size.value - size.min)) / (size.max - size.min)}%`);
};
size.addEventListener('input', brush);
which.addEventListener('focus', () => which.select());
which.addEventListener('change', () => {
  const number = meant(which.value);
  which.setAttribute('aria-invalid', number === null);
  if (number === null) $('.said').textContent = `There is no class “${which.value.slice(0, 40)}”; this model knows 0 to ${classes - 1}.`;
  else choose(number);
});
$('.fill').addEventListener('click', () => {
  filling = !filling;
  plate.toggleAttribute('data-fill', filling);
  $('.fill').setAttribute('aria-pressed', filling);
});
$('.undo').addEventListener('click', () => { numbers = before.pop(); draw(); tell(); });
$('.clear').addEventListener('click', () => { keep(); numbers.fill(0); draw(); tell(); });

// a picture from the server, or names
const show = async () => {
  const given = props.value;
  if (!given) return;
  classes = given.classes ?? classes;
  if (given.names !== names) {
    names = given.names ?? {};
    $('datalist').replaceChildren(...Object.keys(names).map((number) => {
      const made = document.createElement('option');
      made.value = named(number);
      return made;
    }));
  }
  if (chosen === null || chosen >= classes) chosen = Math.min(1, classes - 1);
  const another = canvas.width !== given.width || canvas.height !== given.height || given.numbers !== mine || !numbers.length;
  if (another) { // else what went out comes back
    mine = given.numbers;
    canvas.width = given.width;
    canvas.height = given.height;
    plate.style.setProperty('--ratio', `${given.width} / ${given.height}`);
    numbers = new Uint8ClampedArray(given.width * given.height);
    before = [];
    if (mine) {
      const sheet = document.createElement('canvas'), read = sheet.getContext('2d', { willReadFrequently: true });
      sheet.width = given.width;
      sheet.height = given.height;
      read.drawImage(await createImageBitmap(await (await fetch(mine)).blob(), { colorSpaceConversion: 'none' }), 0, 0);
      if (mine !== given.numbers) return;
      const { data } = read.getImageData(0, 0, sheet.width, sheet.height);
      numbers.forEach((_, i) => { numbers[i] = data[4 * i]; });
    }
    draw();
  }
  brush();
  choose(chosen);
};
watch('value', show);
show();
