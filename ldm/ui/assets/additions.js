// LoRAs and taught words beside the model that is open.
const itemOf = (one) => {
  const item = make('li'), top = make('p', null, { class: 'top' });
  item.toggleAttribute('data-alarm', Boolean(one.nothing));
  item.toggleAttribute('data-off', !one.fits);
  top.append(make('b', one.name), make('span', one.fits ? 'fits' : 'does not fit', { class: 'mark' }));
  if (one.nothing) top.append(make('span', 'changes nothing', { class: 'alarm' }));
  const facts = [one.family && `for ${one.family}`, one.forms, one.ranks && `rank ${one.ranks}`].filter(Boolean).join(', ');
  item.append(top, make('p', [facts && `${facts}.`, one.said].filter(Boolean).join(' '), { class: 'said' }));
  if (one.ignored) {
    const more = make('details'), list = make('ul');
    list.append(...one.ignored.names.map((name) => make('li', name)));
    more.append(make('summary', `${one.ignored.count} names have no place here`), list);
    item.append(more);
  }
  const bars = one.strengths || [], most = Math.max(...bars.map(([, share]) => share), 1e-9);
  if (bars.length) {
    const table = make('div', null, { class: 'bars' });
    table.append(...bars.map(([block, share]) => {
      const line = make('p'), fill = make('i');
      fill.style.width = `${(100 * share) / most}%`;
      const track = make('span', null, { class: 'track' });
      track.append(fill);
      line.append(make('span', block, { class: 'block' }), track, make('span', `${(100 * share).toPrecision(2)} %`, { class: 'share' }));
      return line;
    }));
    item.append(table);
  }
  return item;
};
const show = () => {
  const { loras = [], words = [] } = props.value || {};
  $('.loras').replaceChildren(...loras.map(itemOf));
  $('.words').replaceChildren(...words.map(itemOf));
  $('.none').hidden = loras.length + words.length > 0;
};
watch('value', show);
show();
