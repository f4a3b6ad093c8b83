// The noise levels as they were walked down, and what the network was told.
register({
  name: 'schedule',
  title: 'Schedule',
  noising: true,
  there: (run) => (run.parts ? true : 'Still being worked out.'),
  build: (body, run) => {
    const { columns, warnings, total } = run.parts.schedule;
    if (warnings.length) {
      const list = make('ul', null, { class: 'warnings' });
      list.append(...warnings.map((text) => make('li', text)));
      body.append(list);
    }
    const rug = make('figure', null, { class: 'rug' }), caption = make('figcaption');
    caption.append(make('b', 'Timesteps that the network was told'), make('span'));
    const picture = svg('svg', { class: 'plot', viewBox: '0 0 100 30', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Timesteps that the network was told, from the noisiest on the left' });
    picture.append(svg('line', { class: 'floor', x1: 0, x2: 100, y1: 29, y2: 29 }));
    const last = Math.max(total - 1, ...columns.timestep);
    const marks = columns.timestep.map((t) => {
      const x = (100 * (last - t)) / (last || 1);
      const mark = svg('line', { class: 'mark', x1: x, x2: x, y1: 6, y2: 29 });
      picture.append(mark);
      return mark;
    });
    const ends = make('div', null, { class: 'ends' });
    ends.append(make('span', `${last}, all noise`), make('span', '0, the picture'));
    rug.append(caption, picture, ends);
    const plots = [
      { title: 'Noise level sigma (logarithmic)', values: columns.sigma, log: true },
      { title: 'Log signal-to-noise ratio', values: columns.log_snr },
      { title: 'Share of the picture left', values: columns.signal },
    ].map(plot);
    const box = make('div', null, { class: 'curves' });
    box.append(...plots.map((each) => each.figure));
    const details = make('details'), table = make('table'), head = make('tr');
    const names = [['step', 'Step'], ['timestep', 'Timestep'], ['sigma', 'sigma'], ['snr', 'SNR'], ['alpha_bar', 'alphas_cumprod'], ['signal', 'Signal']];
    head.append(...names.map(([, title]) => make('th', title, { scope: 'col' })));
    table.append(head);
    const rows = columns.sigma.map((_, i) => {
      const row = make('tr');
      row.append(...names.map(([name]) => make('td', name === 'step' ? (run.before ? shortName(i) : `${i + 1}`) : name === 'timestep' ? `${+columns.timestep[i].toFixed(2)}` : columns[name][i].toPrecision(4))));
      row.addEventListener('click', () => seek(i));
      table.append(row);
      return row;
    });
    const scroll = make('div', null, { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'All numbers' });
    scroll.append(table);
    details.append(make('summary', 'All numbers'), scroll);
    body.append(rug, box, details);
    return { step: (index) => {
      plots.forEach((each) => each.step(index));
      marks.forEach((mark, i) => mark.toggleAttribute('data-at', i === index));
      rows.forEach((row, i) => row.toggleAttribute('data-at', i === index));
      caption.lastChild.textContent = `${+columns.timestep[index].toFixed(2)}`;
    } };
  },
});
