// Which words were listened to where: chosen words as veils over the lanes, and what one place listened to.
const SHEET_STEPS = 12, DECODED = ['x_t', 'x0', 'x0_cond', 'x0_uncond'];
const listened = { key: null, chosen: [], when: 'step', size: 'all', daam: false, place: null, pinned: null, mute: null, bytes: null };
let veiled = null; // draws on a lane, while the panel is open
overlays.push((context, name, index) => { if (veiled && DECODED.includes(name)) veiled(context, index); });

const listening = (part) => { // the words that there are, in order: {id, half, word, text, mark, positions}
  const all = [];
  part.halves.forEach((half, h) => half.words.forEach((word, w) => all.push({ ...word, id: `${h}.${w}`, half, word: w })));
  return all;
};
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

// The strip of words: buttons that put a colour on and take it off.
const wordStrip = (part, all, changed) => {
  const box = make('div', null, { class: 'strips' });
  const chips = new Map();
  for (const half of part.halves) {
    const title = half.negative ? 'Negative prompt' : 'Prompt';
    const row = make('div', null, { class: 'wordstrip', role: 'group', 'aria-label': `Words of the ${title.toLowerCase()}` });
    row.append(make('span', title, { class: 'title' }));
    for (const word of all.filter((each) => each.half === half)) {
      const chip = make('button', null, { type: 'button', class: word.mark ? 'word mark' : 'word', 'aria-pressed': 'false' });
      chip.append(make('i', null, { 'aria-hidden': 'true' }), make('span', word.text));
      chip.dataset.word = word.text;
      chip.addEventListener('click', () => {
        const { chosen } = listened, on = chosen.find((each) => each.id === word.id);
        if (on) listened.chosen = chosen.filter((each) => each !== on);
        else if (chosen.length < WORD_COLOURS.length) {
          const free = WORD_COLOURS.findIndex((_, i) => chosen.every((each) => each.colour !== i));
          listened.chosen = [...chosen, { id: word.id, colour: free }];
        }
        changed();
      });
      chips.set(word.id, chip);
      row.append(chip);
    }
    box.append(row);
  }
  return { box, show: () => {
    for (const [id, chip] of chips) {
      const on = listened.chosen.find((each) => each.id === id);
      chip.setAttribute('aria-pressed', Boolean(on));
      chip.style.setProperty('--colour', on ? `rgb(${WORD_COLOURS[on.colour].join(' ')})` : 'transparent');
    }
  } };
};

// Which steps and sizes, and DAAM's choice of them.
const wordChoices = (part, changed) => {
  const box = make('div', null, { class: 'choices' });
  const pick = (label, name, choices) => {
    const select = make('select', null, { 'aria-label': label });
    for (const [value, text] of choices) select.append(make('option', text, { value }));
    select.addEventListener('change', () => { listened[name] = select.value; listened.daam = false; changed(); });
    box.append(select);
    return select;
  };
  const when = pick('Which steps', 'when', [['step', 'This step'], ['all', 'All steps averaged']]);
  const size = pick('Which sizes', 'size', [['all', 'All sizes'], ...part.sizes.map((each, i) => [i, `${each.height} x ${each.width}`])]);
  const daam = make('button', 'DAAM', { type: 'button', class: 'pill daam', title: "The aggregate of DAAM (Tang et al. 2022): all steps, all sizes, one word" });
  daam.addEventListener('click', () => { listened.daam = !listened.daam; changed(); });
  box.append(daam);
  return { box, show: () => {
    when.value = listened.when;
    size.value = listened.size;
    daam.setAttribute('aria-pressed', listened.daam);
  } };
};

// What a place listened to, as bars; without a place, the whole picture.
const wordBars = () => {
  const box = make('div', null, { class: 'listened' }), head = make('h3'), rows = make('div', null, { class: 'shares' });
  const free = make('button', 'Let go', { type: 'button', class: 'pill' });
  free.addEventListener('click', () => { listened.pinned = listened.place = null; redraw(); });
  const line = make('div', null, { class: 'head' });
  line.append(head, free);
  box.append(line, rows);
  return { box, show: (title, shares) => {
    head.textContent = title;
    free.hidden = !listened.pinned;
    const sorted = (marks) => shares.filter(({ mark, share }) => mark === marks).sort((a, b) => b.share - a.share);
    const most = Math.max(...sorted(false).map(({ share }) => share)); // the marks get most of it, and would hide the words
    rows.replaceChildren(...[...sorted(false).slice(0, 12), ...sorted(true)].map(({ text, mark, share }) => {
      const row = make('div', null, { class: mark ? 'mark' : '' }), bar = make('i', null, { 'aria-hidden': 'true' });
      bar.style.setProperty('--wide', `${mark ? 0 : (100 * share) / most}%`);
      row.append(make('span', text), bar, make('b', percent(share)));
      return row;
    }));
    box.dataset.sum = shares.reduce((sum, { share }) => sum + share, 0);
  } };
};

// Chosen words over time: at most SHEET_STEPS small pictures each.
const wordSheet = (run, mapOf) => {
  const box = make('div', null, { class: 'sheets' });
  let laid = '', tiles = [];
  const count = Math.min(run.steps, SHEET_STEPS), at = Array.from({ length: count }, (_, i) => (count > 1 ? Math.round((i * (run.steps - 1)) / (count - 1)) : 0));
  const lay = (chosen) => {
    tiles = [];
    box.replaceChildren(...chosen.map(({ word, colour }) => {
      const figure = make('figure'), row = make('div', null, { class: 'contact', role: 'img', 'aria-label': `${word.text} over the steps` });
      figure.append(make('figcaption', `${word.text} over the steps`), row);
      for (const index of at) {
        const canvas = make('canvas');
        canvas.width = 96; canvas.height = Math.round((96 * run.height) / run.width);
        canvas.addEventListener('click', () => seek(index));
        row.append(canvas);
        tiles.push({ canvas, index });
        const context = canvas.getContext('2d'), found = mapOf(word, index);
        paint(context, run, 'x0', index);
        if (found) dim(context);
        if (found) veil(context, found.map, found.most, WORD_COLOURS[colour]);
      }
      return figure;
    }));
  };
  return { box, show: (chosen, what) => {
    const { bitmap } = laneOf(run, 'x0') || {}, now = `${what} ${Boolean(bitmap)} ${chosen.map(({ word, colour }) => `${word.id}/${colour}`)}`;
    if (now !== laid) lay(chosen);
    laid = now;
    const near = at.reduce((a, b) => (Math.abs(b - state.index) < Math.abs(a - state.index) ? b : a));
    for (const { canvas, index } of tiles) canvas.toggleAttribute('data-at', index === near);
  } };
};

// A run that goes on without one word for some of its steps.
const wordMute = (run) => {
  const box = make('div', null, { class: 'mute' }), said = make('span');
  const [from, to] = ['From step', 'to step'].map((label) => make('input', null, { type: 'number', min: 1, max: run.steps, step: 1, 'aria-label': label }));
  const button = make('button', 'Mute it', { type: 'button', class: 'pill' });
  listened.mute ??= [1, run.steps];
  let word = null;
  const set = () => { [from.value, to.value] = listened.mute; };
  const take = () => {
    const inside = (input) => Math.min(run.steps, Math.max(1, Math.round(input.valueAsNumber) || 1));
    listened.mute = [inside(from), inside(to)].sort((a, b) => a - b);
    set();
  };
  for (const input of [from, to]) input.addEventListener('change', take);
  button.addEventListener('click', () => {
    take();
    const [first, last] = listened.mute.map((step) => step - 1);
    trigger('branch', { at: first, settings: { muted_tokens: word.positions, mute_from_step: first, mute_to_step: last } });
  });
  box.append(said, from, make('span', 'to step'), to, button);
  return { box, show: (chosen) => {
    const one = chosen.length === 1 && !chosen[0].word.mark && !chosen[0].word.half.negative ? chosen[0].word : null;
    box.hidden = !one || Boolean((props.value || {}).offline);
    word = one;
    if (!one) return;
    said.textContent = `Draw it again, deaf to “${one.text}” from step`;
    set();
  } };
};

register({
  name: 'words',
  title: 'Words',
  there: (run) => {
    if (!run.parts) return 'Still being worked out.';
    if (!run.parts.words) return 'This run has no steps to look at.';
    return run.parts.words.why || true;
  },
  build: (body, run) => {
    const part = run.parts.words, all = listening(part), known = new Map(all.map((word) => [word.id, word]));
    if (listened.key !== run.key) {
      const words = all.filter((word) => !word.mark && !word.half.negative);
      const first = words.find((word) => word.text.length > 3) || words.sort((a, b) => b.text.length - a.text.length)[0] || all[0];
      Object.assign(listened, { key: run.key, chosen: [{ id: first.id, colour: 0 }], when: 'step', size: 'all', daam: false, place: null, pinned: null, mute: null, bytes: null });
    }
    const cache = new Map(), everySize = part.sizes.map((_, i) => i);
    const sizes = () => (listened.size === 'all' ? everySize : [+listened.size]);
    const kept = (key, work) => {
      if (cache.size > 600) cache.clear();
      if (!cache.has(key)) cache.set(key, work());
      return cache.get(key);
    };
    // {map, most}: of a word at a step as it is chosen; null where that step has none
    const oneStep = (word, index) => {
      const slot = attending.slot(word.half, part.apart, index), key = `${word.id} ${sizes()}`;
      if (slot === null || !listened.bytes) return null;
      const at = (each) => attending.map(part, listened.bytes, word.half, word.word, [each], sizes());
      const most = kept(`most ${key}`, () => word.half.steps.reduce((best, _, each) => Math.max(best, at(each).most), 0));
      return { map: kept(`${slot} ${key}`, () => at(slot)), most };
    };
    const chosenMap = (word, index, daam = listened.daam) => {
      if (!listened.bytes) return null;
      if (!daam && listened.when === 'step') return oneStep(word, index);
      const key = `${daam ? 'daam' : 'mean'} ${word.id} ${sizes()}`;
      const map = kept(key, () => (daam
        ? attending.daam(listened.bytes, word.half, word.word)
        : attending.map(part, listened.bytes, word.half, word.word, word.half.steps.map((_, i) => i), sizes())));
      return { map, most: map.most };
    };
    const chosen = () => listened.chosen.map(({ id, colour }) => ({ word: known.get(id), colour }));
    const placed = () => listened.pinned || listened.place;

    const changed = () => {
      if (listened.daam) listened.chosen = listened.chosen.slice(-1);
      for (const each of [strip, choices]) each.show();
      redraw();
    };
    const strip = wordStrip(part, all, changed), choices = wordChoices(part, changed);
    const said = make('p', null, { class: 'note' }), bars = wordBars(), sheet = wordSheet(run, oneStep), mute = wordMute(run);
    const heads = headsBox(run, part, () => chosen().map(({ word }) => word).pop());
    const halves = make('div', null, { class: 'wordhalves' }), left = make('div');
    left.append(sheet.box, mute.box);
    halves.append(left, bars.box);
    const box = make('div', null, { class: 'wordsbox' });
    box.append(strip.box, choices.box, said, halves, heads.box);
    body.append(box);
    for (const each of [strip, choices]) each.show();

    veiled = (context, index) => {
      const found = chosen().map(({ word, colour }) => [chosenMap(word, index), listened.daam ? null : WORD_COLOURS[colour]]).filter(([map]) => map);
      if (found.length) dim(context);
      for (const [{ map, most }, colour] of found) veil(context, map, most, colour);
      if (!listened.pinned) return;
      const [x, y] = listened.pinned, { width, height } = context.canvas;
      context.lineWidth = Math.max(1, width / 128);
      for (const [radius, colour] of [[5, '#000'], [3.5, '#fff']]) {
        context.strokeStyle = colour;
        context.beginPath();
        context.arc(x * width, y * height, (radius * width) / 256, 0, 7);
        context.stroke();
      }
    };
    const sharesOf = (half, index, place) => all.filter((word) => word.half === half).map((word) => {
      const found = chosenMap(word, index, false); // shares are shares, whatever is drawn
      if (!found) return { ...word, share: 0 };
      const { values, rows, columns } = found.map;
      const cell = place && Math.min(rows - 1, Math.floor(place[1] * rows)) * columns + Math.min(columns - 1, Math.floor(place[0] * columns));
      return { ...word, share: place ? values[cell] : values.reduce((sum, value) => sum + value, 0) / values.length };
    });
    const tellPlace = (index) => {
      if (!listened.bytes) return;
      const last = chosen().pop(), half = last ? last.word.half : part.halves[0], place = placed();
      bars.show(place ? 'What this place listened to' : 'What the whole picture listened to', sharesOf(half, index, place));
    };
    const explain = (index) => {
      const missing = listened.when === 'step' && !listened.daam && chosen().some(({ word }) => attending.slot(word.half, part.apart, index) === null);
      const less = part.sizes.some((each) => each.rows < each.height) ? ' Larger maps are averaged down.' : '';
      said.textContent = missing ? 'No attention was recorded at this step.'
        : listened.daam ? "DAAM's aggregate of one word: all steps, sizes weighed by their heads. Attention, not yet influence."
          : `Attention, mean over heads and layers; not yet influence.${less}`;
    };
    numbersOf(part.file, Uint8Array).then((made) => { if (listened.key === run.key) { listened.bytes = made; redraw(); } });
    return {
      step: (index) => {
        explain(index);
        tellPlace(index);
        if (listened.bytes) sheet.show(chosen(), `${listened.size}`);
        mute.show(chosen());
        heads.show(index);
      },
      point: (x, y, lane, type) => {
        const near = listened.pinned && x !== null && Math.hypot(x - listened.pinned[0], y - listened.pinned[1]) < 0.03;
        if (type === 'click') listened.pinned = near ? null : [x, y];
        listened.place = x === null ? null : [x, y];
        if (type === 'click') redraw();
        else if (!listened.pinned) tellPlace(state.index);
      },
      close: () => { veiled = null; redraw(); },
    };
  },
});
