// Shows a run.  All pictures lie on sheets, one for each lane; a flip is one drawImage per lane and asks no server.
// Files of this folder share one closure: element, props, watch and trigger come from the host.
const root = $('.scrub'), lanes = $('.lanes');
const still = matchMedia('(prefers-reduced-motion: reduce)');

const state = {
  run: null, // what `pack` in pack.py made, its lanes with their sheets loaded
  index: 0, // of the step that is shown
  shown: [], // names of the lanes that are, in order
  wanted: null, // those that were picked; a run that has not all of them yet, or has no such, does not change it
  pinned: null, // the step that others are compared with
  other: null, // a second run to compare with, in the same form
};
const panels = []; // see panels.js
const heard = { step: [], run: [], point: [] }; // who is told: of a flip, of another run, of the place the pointer is at
const tell = (what, ...about) => { for (const each of heard[what]) each(...about); };

const number = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  return value === 0 ? '0' : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
};
// Of a run that is shown with the noising before it, `before` frames are that; its steps are counted from there.
const shortName = (index) => {
  const before = state.run.before || 0;
  return index < before ? `noising ${index + 1}` : `step ${index - before + 1}`;
};
const stepName = (index) => {
  const before = state.run.before || 0;
  return `${shortName(index)} of ${index < before ? before : (state.run.planned ?? state.run.steps) - before}`;
};

// Tries again for about a minute: a network that was away comes back.
const patient = async (does) => {
  for (let wait = 1000; ; wait *= 2) {
    try { return await does(); } catch (error) { if (wait > 32000) throw error; }
    await new Promise((done) => setTimeout(done, wait));
  }
};
// An image as a bitmap that draws at once; works with the addresses of a server and of a file alike.
const bitmap = (url) => patient(async () => {
  const image = new Image();
  image.src = url;
  await image.decode();
  return createImageBitmap(image);
});
// A file of numbers.  `fetch` reads addresses that start with "data:" too, also in a page opened from a disk.
const numbersOf = async (file, Kind) => new Kind(await patient(async () => (await fetch(file.url)).arrayBuffer()));

let asked = false;
const draw = () => {
  asked = false;
  if (state.run && state.run.steps) tell('step', state.index);
};
const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
const go = (to) => {
  if (!state.run || !state.run.steps) return;
  state.index = Math.min(state.run.steps - 1, Math.max(0, to));
  redraw();
};
