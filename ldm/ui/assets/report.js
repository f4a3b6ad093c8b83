const row = (tag, cells) => { const made = make('tr'); made.append(...cells.map((text) => make(tag, text))); return made; };
const show = () => {
  const trip = props.value;
  $('.report').hidden = !trip;
  if (!trip) return;
  $('.numbers').replaceChildren(...trip.numbers.map(({ name, value, hint }) => {
    const box = make('div'), text = make('dd');
    text.append(make('div', value, { class: 'value' }), make('div', hint, { class: 'hint' }));
    box.append(make('dt', name), text);
    return box;
  }));
  $('.said').textContent = trip.note;
  $('.error').src = trip.error.file.url;
  $('.range').textContent = `black is equal, brightest is ${trip.error.range} of 255 levels or more`;
  $('.channels').src = trip.channels.file.url;
  $('.taken').hidden = !trip.codes;
  $('.maps').classList.toggle('coded', Boolean(trip.codes));
  if (trip.codes) $('.codes').src = trip.codes.file.url;
  const names = Object.keys(trip.statistics);
  $('thead').replaceChildren(row('th', names));
  $('tbody').replaceChildren(...trip.statistics.channel.map((_, i) => row('td', names.map((name) => {
    const value = trip.statistics[name][i];
    return name === 'channel' ? String(value) : value.toFixed(3);
  }))));
};
watch('value', show);
show();
