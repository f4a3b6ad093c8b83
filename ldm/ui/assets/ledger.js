// The shapes that a picture has on its way, a table for each part of the model.
const HEADS = ['Block', 'Kind', 'In', 'Out', 'Numbers', 'Queries'];
const count = (n) => n.toLocaleString('en');
const partOf = (part, i) => {
  const made = make('details'), scroll = make('div', null, { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Shapes in the ${part.name}` });
  made.open = i === 0 || part.name === 'U-Net';
  const told = make('summary');
  told.append(make('b', upper(part.name)), make('span', `${count(part.numbers)} numbers, ${part.rows.length} blocks`));
  const table = make('table'), head = make('tr'), body = make('tbody'), top = make('thead');
  head.append(...HEADS.map((name) => make('th', name, { scope: 'col' })));
  top.append(head);
  body.append(...part.rows.map((row) => {
    const line = make('tr');
    line.append(make('th', row.name, { scope: 'row' }), ...[row.kind, row.in, row.out, count(row.numbers), row.queries].map((text) => make('td', text)));
    return line;
  }));
  table.append(top, body);
  scroll.append(table);
  made.append(told, scroll);
  return made;
};
const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const show = () => {
  const found = props.value;
  $('.parts').replaceChildren(...(found ? found.parts.map(partOf) : []));
};
watch('value', show);
show();
