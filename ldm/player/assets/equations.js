// What this step computed, with its own numbers.
register({
  name: 'equations',
  title: 'Equations',
  there: (run) => (!run.parts ? 'Still being worked out.' : run.parts.equations ? true : 'This run has no steps to write down.'),
  build: (body, run) => {
    const { steps, math } = run.parts.equations;
    const box = make('div', null, { class: 'written' });
    body.append(box);
    const one = (equation) => {
      const section = make('section');
      section.append(make('h3', equation.title), make('p', equation.symbols, { class: 'symbols' }), make('p', equation.numbers, { class: 'values' }));
      if (equation.note) section.append(make('p', equation.note, { class: 'note' }));
      const foot = make('p', null, { class: 'foot' });
      if (equation.error !== null && equation.error !== undefined) foot.append(make('span', `Computed again from what is stored, it is off by ${equation.error === 0 ? 'nothing' : equation.error.toExponential(1)}. `));
      const where = `docs/math.md, ${equation.section}`;
      foot.append(math && !props.value.offline ? make('a', where, { href: `${math}#${equation.anchor}`, target: '_blank', rel: 'noopener' }) : make('span', where));
      section.append(foot);
      return section;
    };
    return { step: (index) => { if (box.dataset.at !== `${index}`) { box.dataset.at = index; box.replaceChildren(...steps[index].map(one)); } } };
  },
});
