// Three readings of the network's answers; a short bar is a good one.
const MOST = 4; // times mere shrinking's error: what is wrong is beyond it
const rowOf = ({ name, error, label }) => {
  const item = make('li'), track = make('span', null, { class: 'track' }), fill = make('span', null, { class: 'fill' });
  fill.style.width = `${100 * Math.min(error / MOST, 1)}%`;
  fill.toggleAttribute('data-good', error < 0.9);
  track.append(fill);
  const told = error > 99 ? 'more than 99' : error.toFixed(2);
  item.append(make('span', `${name}${label ? ', as its label says' : ''}`, { class: 'name' }), track, make('span', `error ${told}`, { class: 'error' }));
  return item;
};
const show = () => {
  const found = props.value;
  $('.found').hidden = !found;
  if (!found) return;
  $('.wrong').hidden = !found.wrong;
  $('.wrong').textContent = found.wrong;
  $('.said').textContent = `${found.said} Confidence ${Math.round(100 * found.confidence)} %.`;
  $('.scores').replaceChildren(...found.scores.map(rowOf));
  $('.label').textContent = `Its file: ${found.label}.`;
  $('.why').replaceChildren(...found.evidence.map((line) => make('li', line)));
};
watch('value', show);
show();
