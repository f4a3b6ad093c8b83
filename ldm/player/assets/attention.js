// Shares of attention from the bytes that parts/words.py makes, and how they are laid over a picture.
// `attending` is arithmetic alone.
const attending = {
  // Where the maps of a step lie; null where it has none.  Of a very long run each `apart`-th step is there.
  slot: (half, apart, index) => {
    let best = null;
    half.steps.forEach((step, i) => { if (best === null || Math.abs(step - index) < Math.abs(half.steps[best] - index)) best = i; });
    return best !== null && Math.abs(half.steps[best] - index) < apart ? best : null;
  },
  // Shares of one word at one step and size.
  shares: (part, bytes, half, word, slot, at) => {
    const { rows, columns } = part.sizes[at], { offset, largest } = half.blocks[at], size = rows * columns;
    const from = offset + (slot * half.words.length + word) * size;
    return Float32Array.from(bytes.subarray(from, from + size), (level) => (level * largest[word]) / 255);
  },
  // At another size, smoothly; as torch's bilinear without aligned corners.
  resized: (values, rows, columns, tall, wide) => {
    if (rows === tall && columns === wide) return values;
    const made = new Float32Array(tall * wide);
    const ends = (i, from, to) => {
      const at = Math.max(0, ((i + 0.5) * from) / to - 0.5), low = Math.min(from - 1, Math.floor(at));
      return [low, Math.min(from - 1, low + 1), at - low];
    };
    const across = Array.from({ length: wide }, (_, x) => ends(x, columns, wide));
    for (let y = 0; y < tall; y++) {
      const [top, under, down] = ends(y, rows, tall);
      for (let x = 0; x < wide; x++) {
        const [left, right, on] = across[x];
        const line = (row) => values[row * columns + left] * (1 - on) + values[row * columns + right] * on;
        made[y * wide + x] = line(top) * (1 - down) + line(under) * down;
      }
    }
    return made;
  },
  // {values, rows, columns}: the mean over the slots and sizes named, each weighed the same.
  map: (part, bytes, half, word, slots, sizes) => {
    const largest = sizes.reduce((a, b) => (part.sizes[b].rows > part.sizes[a].rows ? b : a)), { rows, columns } = part.sizes[largest];
    const sum = new Float32Array(rows * columns), count = slots.length * sizes.length;
    for (const at of sizes) {
      const own = new Float32Array(part.sizes[at].rows * part.sizes[at].columns);
      for (const slot of slots) attending.shares(part, bytes, half, word, slot, at).forEach((value, i) => { own[i] += value; });
      attending.resized(own, part.sizes[at].rows, part.sizes[at].columns, rows, columns).forEach((value, i) => { sum[i] += value / count; });
    }
    return { values: sum, rows, columns, most: sum.reduce((a, b) => Math.max(a, b), 0) };
  },
  // What DAAM's authors' program gives for a word, from 0 to 1.
  daam: (bytes, half, word) => {
    const { offset, rows, columns } = half.daam, from = offset + word * rows * columns;
    return { values: Float32Array.from(bytes.subarray(from, from + rows * columns), (level) => level / 255), rows, columns, most: 1 };
  },
};

// Told apart by people who see no red or no green.
const WORD_COLOURS = [[240, 170, 30], [86, 180, 233], [240, 228, 66], [0, 178, 130], [233, 110, 40], [224, 140, 190], [140, 140, 255]];
// The picture as dark grey, so that colours laid over it are those of words.
const dim = (context) => {
  const { width, height } = context.canvas;
  for (const [mode, colour] of [['saturation', '#000'], ['source-over', '#0004']]) {
    context.globalCompositeOperation = mode;
    context.fillStyle = colour;
    context.fillRect(0, 0, width, height);
  }
};
// A map over what the canvas shows: the more of `most`, the more of the colour; without one as heat.
const veil = (context, { values, rows, columns }, most, colour) => {
  const { width, height } = context.canvas;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  const paintOne = (value) => {
    const share = Math.min(1, value / (most || 1));
    return colour ? [...colour, 225 * share] : [...heat(0.35 + 0.65 * share), 225 * share];
  };
  context.drawImage(cells(values, columns, rows, paintOne), 0, 0, width, height);
};
