// Boxes drawn on a square, each of a class; they are a text, "17 0.1 0.2 0.5 0.6; 3 0 0 1 1", in the prompt.
const square = $('.square'), which = $('.which');
const LEAST = 0.02; // of the side: less is a click, not a box
let boxes = [], chosen = null, next = '0', mine = null, drawing = null;
let classes = 1, most = 1, names = {};

const colour = (label) => {
  if (label === 'crop') return 'var(--body-text-color)';
  const seed = /^\d+$/.test(label) ? +label : [...label].reduce((sum, each) => sum + each.codePointAt(0), 0);
  return `hsl(${Math.round(((seed + 1) * 137.508) % 360)} 55% 38%)`;
};
const named = (label) => (names[label] ? `${names[label]} (${label})` : label);
const short = (number) => `${Math.round(number * 1000) / 1000}`;
const written = () => boxes.map(({ label, ends, raw }) => raw ?? [label, ...ends.map(short)].join(' ')).join('; ');
// What cannot be read is kept as it is, and not drawn.
const parsed = (text) => text.split(/[;\n]/).map((part) => part.trim()).filter(Boolean).map((raw) => {
  const words = raw.replaceAll(',', ' ').split(/\s+/), ends = words.splice(-4).map(Number), label = words.join(' ');
  const good = label && ends.length === 4 && ends.every((end) => end >= 0 && end <= 1) && ends[0] < ends[2] && ends[1] < ends[3];
  return good ? { label, ends } : { raw };
});
const laid = ({ label, ends }, index) => {
  const made = document.createElement('div'), name = document.createElement('span'), [left, top, right, bottom] = ends;
  made.className = 'box';
  made.toggleAttribute('data-crop', label === 'crop');
  made.toggleAttribute('data-chosen', index === chosen);
  made.style.cssText = `left: ${100 * left}%; top: ${100 * top}%; width: ${100 * (right - left)}%; height: ${100 * (bottom - top)}%`;
  made.style.setProperty('--colour', colour(label));
  name.textContent = named(label);
  made.append(name);
  return made;
};
const row = ({ label }, index) => {
  const made = document.createElement('div'), one = document.createElement('button'), remove = document.createElement('button');
  const swatch = document.createElement('b');
  swatch.style.setProperty('--colour', colour(label));
  one.type = remove.type = 'button';
  one.className = 'one';
  one.append(swatch, named(label));
  one.setAttribute('aria-pressed', index === chosen);
  one.addEventListener('click', () => { chosen = chosen === index ? null : index; if (chosen !== null && label !== 'crop') next = label; draw(); });
  remove.className = 'remove';
  remove.textContent = '×';
  remove.setAttribute('aria-label', `Remove ${named(label)}`);
  remove.addEventListener('click', () => { boxes.splice(index, 1); chosen = null; tell(); });
  made.append(one, remove);
  return made;
};
const draw = () => {
  const there = boxes.map((box, index) => [box, index]).filter(([box]) => box.ends);
  const rest = there.filter(([{ label }]) => label !== 'crop').length - most;
  square.replaceChildren(...there.map(([box, index]) => laid(box, index)), ...(drawing ? [laid({ label: next, ends: drawing.ends }, -1)] : []));
  $('.list').replaceChildren(...there.map(([box, index]) => row(box, index)));
  $('.clear').disabled = !boxes.length;
  $('.said').textContent = !there.length ? 'Choose a class and drag over the square, once for each thing.'
    : rest > 0 ? `The model reads ${most} boxes; the last ${rest} are too many.`
      : chosen !== null ? 'Another class goes to the box that is chosen.' : '';
  which.value = named(next);
  which.setAttribute('aria-invalid', false);
  $('label b').style.setProperty('--colour', colour(next));
};
const tell = () => {
  mine = written();
  props.value = { ...props.value, text: mine };
  draw();
  setTimeout(() => trigger('draw')); // once the value is where events take it from
};

// a box
const place = (event) => {
  const box = square.getBoundingClientRect(), within = (share) => Math.min(1, Math.max(0, share));
  return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
};
square.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  event.preventDefault();
  square.setPointerCapture(event.pointerId);
  const from = place(event);
  drawing = { from, ends: [...from, ...from] };
});
square.addEventListener('pointermove', (event) => {
  if (!drawing) return;
  const [x, y] = place(event), [left, top] = drawing.from;
  drawing.ends = [Math.min(x, left), Math.min(y, top), Math.max(x, left), Math.max(y, top)];
  draw();
});
const end = () => {
  if (!drawing) return;
  const { ends } = drawing;
  drawing = null;
  if (ends[2] - ends[0] < LEAST || ends[3] - ends[1] < LEAST) { draw(); return; }
  boxes.push({ label: next, ends: ends.map((each) => +short(each)) });
  chosen = null;
  tell();
};
square.addEventListener('pointerup', end);
square.addEventListener('pointercancel', () => { drawing = null; draw(); });

// tools
const meant = (text) => {
  const lower = text.trim().toLowerCase(), digits = /^\d+$|\((\d+)\)$/.exec(lower);
  const label = digits ? (digits[1] ?? digits[0]) : Object.keys(names).find((key) => names[key].toLowerCase() === lower);
  return label !== undefined && +label < classes ? `${+label}` : null;
};
which.addEventListener('focus', () => which.select());
which.addEventListener('change', () => {
  const label = meant(which.value);
  if (label === null) {
    which.setAttribute('aria-invalid', true);
    $('.said').textContent = `There is no class “${which.value.slice(0, 40)}”; this model knows 0 to ${classes - 1}.`;
    return;
  }
  next = label;
  if (chosen !== null && boxes[chosen]?.label !== 'crop') { boxes[chosen].label = label; tell(); } else draw();
});
$('.clear').addEventListener('click', () => { boxes = []; chosen = null; tell(); });

// a text from the prompt, or names
const show = () => {
  const given = props.value;
  if (!given) return;
  classes = given.classes ?? classes;
  most = given.most ?? most;
  names = given.names ?? {};
  $('datalist').replaceChildren(...Object.keys(names).map((label) => {
    const made = document.createElement('option');
    made.value = named(label);
    return made;
  }));
  if ((given.text ?? '') !== mine) {
    mine = given.text ?? '';
    boxes = parsed(mine);
    chosen = null;
  }
  draw();
};
watch('value', show);
show();
