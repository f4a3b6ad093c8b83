// What a model is made of, as one bar: as wide as it has numbers.
const people = (n) => {
  const [step, unit] = [[1e9, ' B'], [1e6, ' M'], [1e3, ' k'], [1, '']].find(([least]) => n >= least) || [1, ''];
  return `${step > 1 ? (n / step).toFixed(n / step < 100 ? 1 : 0) : n}${unit}`;
};
const bar = (parts) => {
  const there = parts.filter(({ numbers }) => numbers), line = make('div', null, { class: 'line', 'aria-hidden': 'true' });
  const legend = make('ul', null, { class: 'legend' });
  there.forEach(({ name, numbers }, i) => {
    const share = make('span');
    share.style.flexGrow = numbers;
    share.dataset.tone = i;
    line.append(share);
    const item = make('li'), mark = make('i');
    mark.dataset.tone = i;
    item.append(mark, make('span', name), make('b', people(numbers)));
    item.title = `${numbers.toLocaleString('en')} numbers`;
    legend.append(item);
  });
  return [line, legend];
};
