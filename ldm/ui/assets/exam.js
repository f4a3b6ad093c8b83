// The strict report.  While every weight is read the last one stays.
const count = (n) => n.toLocaleString('en');
const names = ({ words, count: many, names: few, grave }, where) => {
  const made = make('details', null, { class: grave === false ? 'mild' : 'grave' });
  const rest = many - few.length;
  made.append(make('summary', `${where ? `${where}: ` : ''}${count(many)} ${words}`));
  const list = make('ul');
  list.append(...few.map((name) => make('li', name)), ...(rest > 0 ? [make('li', `and ${count(rest)} more`)] : []));
  made.append(list);
  return made;
};
const rowOf = (part) => {
  const made = make('tr');
  made.append(make('th', part.name, { scope: 'row' }), make('td', `${count(part.found)} of ${count(part.needed)}`), make('td', count(part.numbers)), make('td', part.whole ? 'yes' : 'no', { class: part.whole ? 'yes' : 'no' }));
  return made;
};
const facts = (report) => {
  const kinds = report.kinds.map(({ dtype, tensors, parameters }) => `${dtype}: ${count(parameters)} in ${count(tensors)} tensors`);
  const values = !report.scanned ? 'not read yet' : report.faults.length ? '' : 'every value is a number, no weight is all zero or constant';
  return [
    ['Weights', report.weights],
    ['Label', report.label],
    ['Types', kinds.join('; ')],
    ['Values', values],
    ['Beside the networks', report.leftovers ? `${count(report.leftovers)} tensors that belong to no network and need not` : ''],
    ['SHA-256', report.sha256],
    ['AutoV2', report.short_hash],
  ].filter(([, value]) => value);
};
const lora = (found) => (!found ? [] : [
  ['LoRA for', found.family || 'no family it names'],
  ['Changes', `${count(found.changes)} weights, ${found.forms.join(', ')}, rank ${found.ranks.join(', ') || 'none'}`],
  ['Names not known', found.unread.length ? found.unread.slice(0, 3).join(', ') : ''],
  ['Note', found.note],
].filter(([, value]) => value));
const line = ([name, value]) => { const made = make('div'); made.append(make('dt', name), make('dd', value)); return made; };
const show = () => {
  const report = props.value || {}, reading = report.state === 'reading';
  $('.exam').hidden = !report.state || report.state === 'none';
  $('.reading').hidden = !reading;
  if (reading) {
    $('.done').style.width = `${100 * report.share}%`;
    $('.far').textContent = `Reading every weight, ${Math.round(100 * report.share)} %`;
    return;
  }
  $('.found').hidden = report.state !== 'done';
  if (report.state !== 'done') return;
  const whole = report.parts.length && report.parts.every((part) => part.whole);
  $('.short').textContent = !report.parts.length ? '' : whole ? 'every weight has its place' : 'not every weight has its place';
  $('.parts').parentElement.hidden = !report.parts.length;
  $('.parts tbody').replaceChildren(...report.parts.map(rowOf));
  $('.wrong').replaceChildren(...report.parts.flatMap((part) => part.wrong.map((each) => names(each, part.name))), ...report.faults.map((each) => names({ ...each, words: `tensors: ${each.words}` })));
  $('.facts').replaceChildren(...[...facts(report), ...lora(report.lora)].map(line));
  $('.more').hidden = !report.metadata.length;
  $('.more summary').textContent = `Metadata, ${count(report.metadata.length)} entries`;
  $('.metadata tbody').replaceChildren(...report.metadata.map(([key, value]) => { const made = make('tr'); made.append(make('th', key, { scope: 'row' }), make('td', value)); return made; }));
};
watch('value', show);
show();
