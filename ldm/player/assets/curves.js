// Numbers over the steps.
register({
  name: 'curves',
  title: 'Curves',
  noising: true,
  there: () => true,
  build: (body, run) => {
    const plots = run.curves.map(plot);
    const box = make('div', null, { class: 'curves' });
    box.append(...plots.map((each) => each.figure));
    body.append(box);
    return { step: (index) => plots.forEach((each) => each.step(index)) };
  },
});
