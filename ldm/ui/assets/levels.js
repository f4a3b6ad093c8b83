// One mark for each step, where its timestep lies between nothing but noise and the picture.
const mark = (name, x1, x2, y1) => svg('line', { class: name, x1, x2, y1, y2: 23 });
const show = () => {
  const { told, passed, line, said, last } = props.value;
  const at = (timestep) => 100 * (1 - timestep / Math.max(1, last));
  const marks = [...passed.map((t) => mark('passed', at(t), at(t), 9)), ...told.map((t) => mark('told', at(t), at(t), 2))];
  $('svg').replaceChildren(...(marks.length ? [mark('floor', 0, 100, 23), ...marks] : []));
  $('svg').setAttribute('aria-label', told.length ? `Timesteps ${line}` : '');
  $('figcaption span').textContent = told.length ? `${told.length} ${told.length === 1 ? 'step' : 'steps'}` : '';
  $('.hint').hidden = !told.length;
  $('.numbers').textContent = line;
  $('.said').textContent = said;
};
watch('value', show);
show();
