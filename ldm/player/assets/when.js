// When was it decided: the step from which on each place stays what it will be, and how the coarse comes first.
register({
  name: 'when',
  title: 'When decided',
  there: (run) => (!run.parts ? 'Still being worked out.' : run.parts.when ? true : 'This run has no steps to look at.'),
  build: (body, run) => {
    const part = run.parts.when, { width, height, steps } = part;
    const box = make('div', null, { class: 'whenbox' });
    const map = make('figure'), now = make('figure');
    const picture = (label) => { const canvas = make('canvas', null, { role: 'img', 'aria-label': label }); canvas.width = run.width; canvas.height = run.height; return canvas; };
    const [heatCanvas, nowCanvas] = [picture('The step at which each place was decided'), picture('What is decided so far')];
    const caption = (title) => { const made = make('figcaption'); made.append(make('b', title), make('span')); return made; };
    map.append(heatCanvas, caption('Step at which it was decided'));
    now.append(nowCanvas, caption('Decided so far'));
    const legend = make('div', null, { class: 'legend', 'aria-hidden': 'true' });
    legend.append(make('span', 'step 1'), make('i'), make('span', `step ${steps}`));
    map.append(legend);
    const ask = make('label', null, { class: 'ask' });
    const slider = make('input', null, { type: 'range', min: 1, max: 40, step: 0.5, value: part.threshold });
    const output = make('output');
    ask.append(make('span', 'A colour counts as decided within'), slider, output);
    const histogram = bars('Places decided at each step', steps);
    const spectrum = part.spectrum && chart({ title: 'Power per frequency', x: part.spectrum.frequency, from: 'coarse', to: 'fine', log: true });
    const side = make('div', null, { class: 'side' });
    side.append(ask, histogram.figure);
    let lines = null;
    if (spectrum) {
      const { x0, x_t } = part.spectrum;
      spectrum.range([...x0.flat(), ...x_t.flat()].filter((value) => value > 0));
      lines = { last: spectrum.line('faint'), x_t: spectrum.line('dashed'), x0: spectrum.line('plain') };
      lines.last(x0[x0.length - 1]);
      const key = make('p', null, { class: 'key' });
      for (const [name, text] of [['plain', 'x0 at this step'], ['dashed', 'x_t at this step'], ['faint', 'the last x0']]) {
        const one = make('span', text);
        one.prepend(make('i', null, { class: name }));
        key.append(one);
      }
      side.append(spectrum.figure, key);
    }
    box.append(map, now, side);
    body.append(box);
    let away = null, at = new Uint16Array(width * height);
    const settle = () => {
      output.textContent = `${(+slider.value).toFixed(1)} ΔE`;
      if (!away) return;
      const limit = 2 * slider.value, counts = new Array(steps).fill(0);
      for (let cell = 0; cell < at.length; cell++) {
        let step = steps - 1;
        while (step > 0 && away[(step - 1) * at.length + cell] <= limit) step--;
        at[cell] = away[(steps - 1) * at.length + cell] <= limit ? step : steps - 1;
        counts[at[cell]] += 1;
      }
      histogram.set(counts);
      const context = heatCanvas.getContext('2d');
      context.imageSmoothingEnabled = false;
      context.drawImage(cells(at, width, height, (value) => [...heat(value / Math.max(1, steps - 1)), 255]), 0, 0, ...part.covers);
      redraw();
    };
    slider.addEventListener('input', settle);
    numbersOf(part.file, Uint8Array).then((made) => { away = made; settle(); });
    return { step: (index) => {
      if (!away) return;
      const context = nowCanvas.getContext('2d');
      paint(context, run, 'x0', index);
      context.imageSmoothingEnabled = false;
      context.drawImage(cells(at, width, height, (value) => [11, 9, 8, value <= index ? 0 : 215]), 0, 0, ...part.covers);
      const share = at.reduce((sum, value) => sum + (value <= index), 0) / at.length;
      now.querySelector('span').textContent = `${Math.round(100 * share)} % of the picture`;
      histogram.at(index);
      if (lines) { lines.x0(part.spectrum.x0[index]); lines.x_t(part.spectrum.x_t[index]); }
    } };
  },
});
