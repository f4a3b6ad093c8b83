// A brush over a picture.  What is painted becomes the mask: a PNG, white on black, in the value that goes to the server.
const root = $('.paint'), plate = $('.plate'), picture = $('img'), canvas = $('canvas'), size = $('input');
const context = canvas.getContext('2d', { willReadFrequently: true });
const BACK = 20; // strokes that can be taken back
let before = [], last = null, erasing = false, mine;

const ink = () => getComputedStyle(root).getPropertyValue('--ld-light');
const anything = () => {
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 3; i < data.length; i += 4) if (data[i]) return true;
  return false;
};
const say = (there) => {
  $('.said').textContent = there
    ? 'What is painted is drawn anew; the rest stays as it is.'
    : 'Nothing is painted: all of the picture is drawn anew.';
  $('.undo').disabled = !before.length;
  $('.clear').disabled = !there;
};
const tell = () => {
  const there = anything();
  let url = null;
  if (there) {
    const sheet = document.createElement('canvas'), mask = sheet.getContext('2d');
    const fill = (how, colour) => {
      mask.globalCompositeOperation = how;
      mask.fillStyle = colour;
      mask.fillRect(0, 0, sheet.width, sheet.height);
    };
    sheet.width = canvas.width;
    sheet.height = canvas.height;
    mask.drawImage(canvas, 0, 0);
    fill('source-in', '#fff'); // the strokes in white, whatever they are shown in
    fill('destination-over', '#000');
    url = sheet.toDataURL('image/png');
  }
  mine = url;
  props.value = { ...props.value, mask: url };
  say(there);
};
const keep = () => {
  before.push(context.getImageData(0, 0, canvas.width, canvas.height));
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
  context.globalCompositeOperation = erasing ? 'destination-out' : 'source-over';
  context.strokeStyle = ink();
  context.lineCap = context.lineJoin = 'round';
  context.lineWidth = (size.value / 100) * canvas.width;
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y);
  context.stroke();
};
canvas.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  keep();
  last = place(event);
  stroke(last, last);
});
canvas.addEventListener('pointermove', (event) => {
  plate.toggleAttribute('data-over', true);
  const here = place(event);
  if (!last) return;
  for (const each of event.getCoalescedEvents?.() ?? [event]) { const next = place(each); stroke(last, next); last = next; }
  last = here;
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
$('.erase').addEventListener('click', () => {
  erasing = !erasing;
  $('.erase').setAttribute('aria-pressed', erasing);
});
$('.undo').addEventListener('click', () => { context.putImageData(before.pop(), 0, 0); tell(); });
$('.clear').addEventListener('click', () => { keep(); context.clearRect(0, 0, canvas.width, canvas.height); tell(); });

// a picture from the server, with what is painted on it already
const show = async () => {
  const given = props.value;
  root.hidden = !given;
  if (!given) { picture.removeAttribute('src'); mine = undefined; return; }
  if (picture.getAttribute('src') === given.picture && given.mask === mine) return; // what went out comes back
  picture.src = given.picture;
  root.toggleAttribute('data-only', Boolean(given.only)); // to be looked at, not painted on
  mine = given.mask;
  canvas.width = given.width;
  canvas.height = given.height;
  plate.style.setProperty('--ratio', `${given.width} / ${given.height}`);
  plate.style.setProperty('--widest', `min(${Math.max(given.width, 512)}px, ${Math.round((62 * given.width) / given.height)}vh)`);
  before = [];
  if (given.mask) {
    const mask = await createImageBitmap(await (await fetch(given.mask)).blob());
    if (mine !== given.mask) return;
    context.drawImage(mask, 0, 0, canvas.width, canvas.height);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height), { data } = pixels;
    for (let i = 0; i < data.length; i += 4) data[i + 3] = data[i]; // what is white is painted
    context.putImageData(pixels, 0, 0);
    context.globalCompositeOperation = 'source-in';
    context.fillStyle = ink();
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  brush();
  say(Boolean(given.mask));
  if (given.only) $('.said').textContent = given.only;
};
watch('value', show);
show();
