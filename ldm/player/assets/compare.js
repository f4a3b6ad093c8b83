// Two runs side by side and their difference, and where they part.
const nearest = (sigmas, sigma) => {
  let best = 0;
  const far = (value) => Math.abs(Math.log(Math.max(value, 1e-6)) - Math.log(Math.max(sigma, 1e-6)));
  sigmas.forEach((value, i) => { if (far(value) < far(sigmas[best])) best = i; });
  return best;
};
// The step of the other run that belongs to one of this: its own number, or the nearest noise level.
const beside = (index) => {
  const { run, other } = state;
  if (run.steps === other.steps && run.sigma.every((value, i) => value === other.sigma[i])) return index;
  return nearest(other.sigma, run.sigma[index]);
};
const compared = () => $('.compared');
const layCompare = () => {
  const { run, other } = state;
  compared()?.remove();
  if (!run || !other) return;
  const box = make('div', null, { class: 'compared', role: 'group', 'aria-label': 'Two runs compared' });
  const said = make('p', null, { class: 'said' });
  const row = make('div', null, { class: 'pair' });
  for (const [name, title, words] of [['mine', run.title || 'This run', run.prompt], ['theirs', other.title || 'The other run', other.prompt], ['apart', 'Difference', '4 times as bright']]) {
    const figure = make('figure', null, { 'data-name': name });
    const canvas = make('canvas', null, { role: 'img', 'aria-label': `${title}: ${words}` });
    canvas.width = run.width; canvas.height = run.height;
    const caption = make('figcaption');
    caption.append(make('b', title), make('span', words));
    figure.append(canvas, caption);
    row.append(figure);
  }
  if (other.moved) {
    const figure = make('figure', null, { 'data-name': 'moved' }), caption = make('figcaption');
    const image = make('img', null, { src: other.moved.file.url, alt: `What moved between the two pictures, by ${other.moved.mean} Delta E in the mean` });
    caption.append(make('b', 'What moved'), make('span', `In the finished pictures: ${other.moved.mean} Delta E in the mean`));
    figure.append(image, caption);
    row.append(figure);
  }
  row.style.setProperty('--count', row.children.length);
  said.textContent = other.parts_at || '';
  box.append(said, row);
  lanes.after(box);
  Promise.all([[run, 'x0'], [other, 'x0']].map(([of, name]) => load(of, laneOf(of, name)))).then(redraw);
};
heard.step.push((index) => {
  const box = state.other && compared();
  if (!box) return;
  const at = beside(index);
  const [mine, theirs, apart] = ['mine', 'theirs', 'apart'].map((name) => box.querySelector(`[data-name=${name}] canvas`).getContext('2d'));
  paint(mine, state.run, 'x0', index);
  paint(theirs, state.other, 'x0', at);
  paintDifference(apart, [state.run, 'x0', index], [state.other, 'x0', at]);
  box.dataset.at = at;
});
heard.run.push(layCompare);
