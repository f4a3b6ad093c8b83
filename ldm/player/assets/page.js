// The host of the player in a page of its own: the run lies in the page, nothing changes it, nobody is told.
const element = document.getElementById('player');
const props = { value: { run: JSON.parse(document.getElementById('run').textContent), other: null, live: null, offline: true } };
const watch = () => {};
const trigger = () => {};
