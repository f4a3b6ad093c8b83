// Every head of every layer at one step, for one word: asked for, because it costs a call of the network.
const megabytes = (bytes) => (bytes < 1e5 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

// {box, show(index)}; the answer arrives as props.value.heads = {at, layers}, layers as `heads_pack` makes them.
let headsTold = null; // takes the answer, where the panel is open
const headsBox = (run, part, wordOf) => {
  const box = make('div', null, { class: 'headsbox' });
  const ask = make('button', 'Layers and heads of this step', { type: 'button', class: 'pill' }), cost = make('span');
  const line = make('div', null, { class: 'acts' }), head = make('h3'), layers = make('div', null, { class: 'layers' });
  cost.textContent = part.heads_bytes === null ? 'One more network call.' : `${megabytes(part.heads_bytes)}, one more network call.`;
  line.append(ask, cost);
  box.append(line, head, layers);
  ask.addEventListener('click', () => {
    ask.disabled = true;
    cost.textContent = 'Asking the network …';
    trigger('heads', { at: state.index });
  });
  const price = cost.textContent;
  let given = null, files = [];
  const take = (found) => {
    const mine = files = [];
    given = found;
    ask.disabled = false;
    cost.textContent = price;
    found.layers.forEach((layer, i) => numbersOf(layer.file, Uint8Array).then((made) => { mine[i] = made; redraw(); }));
  };
  headsTold = (found) => { if (found) take(found); else { ask.disabled = false; cost.textContent = price; } };

  // shares of a word in one head: the sum over its positions; padding may be many of them here
  const headMap = (layer, bytes, word, which) => {
    const { rows, columns, tokens, largest } = layer, size = rows * columns, sum = new Float32Array(size);
    const own = word.mark && word.text === 'padding' ? Array.from({ length: tokens - word.positions[0] }, (_, i) => word.positions[0] + i) : word.positions;
    for (const token of own.filter((each) => each < tokens)) {
      const from = (which * tokens + token) * size;
      for (let i = 0; i < size; i++) sum[i] += (bytes[from + i] * largest[token]) / 255;
    }
    return sum;
  };
  const drawLayer = (layer, bytes, word) => {
    const figure = make('figure'), row = make('div', null, { class: 'contact', role: 'img', 'aria-label': `${word.text} in the ${layer.heads} heads of ${layer.name}` });
    const caption = make('figcaption');
    caption.append(make('b', layer.name), make('span', `${layer.size.join(' x ')}, ${layer.heads} heads`));
    const maps = Array.from({ length: layer.heads }, (_, which) => headMap(layer, bytes, word, which));
    const most = Math.max(1e-12, ...maps.map((map) => map.reduce((a, b) => Math.max(a, b), 0)));
    row.append(...maps.map((map) => cells(map, layer.columns, layer.rows, (value) => [...heat(value / most), 255])));
    figure.append(caption, row);
    return figure;
  };
  let laid = '';
  return { box, show: () => {
    const word = wordOf(), offline = Boolean((props.value || {}).offline);
    line.hidden = offline;
    box.hidden = offline && !given;
    if (!given || !word || word.half.negative) { head.textContent = ''; layers.replaceChildren(); laid = ''; return; }
    const there = given.layers.map((_, i) => Boolean(files[i])), now = `${word.id} ${there}`;
    if (now === laid) return;
    laid = now;
    head.textContent = `“${word.text}” in every head at step ${given.at + 1}`;
    layers.replaceChildren(...given.layers.map((layer, i) => (files[i] ? drawLayer(layer, files[i], word) : make('figure'))));
  } };
};
