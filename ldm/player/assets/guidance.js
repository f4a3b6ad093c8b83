// Guidance with another strength: x0 of the current step again, from what was stored, without asking the server.
// `guiding` is arithmetic alone, of what parts/guidance.py gives.
const guiding = {
  LEVELS: 32767,
  // What the rescale multiplies the network's output by, its spread being a quadratic in the strength.
  stretch: ({ spread: [variance, covariance, difference, cond] }, scale, rescale) => {
    const all = variance + 2 * scale * covariance + scale * scale * difference;
    return 1 - rescale + rescale * (all > 0 ? cond / Math.sqrt(all) : 1);
  },
  // Guided x0 as a sum: how much of x0_uncond, x0_cond and x.
  weights: (step, scale, rescale) => {
    const k = guiding.stretch(step, scale, rescale);
    return [k * (1 - scale), k * scale, (1 - k) * step.shift];
  },
  mixed: ([a, b, c], [uncond, cond, x], made) => {
    for (let i = 0; i < made.length; i++) made[i] = a * uncond[i] + b * cond[i] + (c ? c * x[i] : 0);
    return made;
  },
  // One step of a file: [x0_uncond, x0_cond, x].
  unpacked: (levels, slot, step, size) => step.largest.map((largest, k) => {
    const scale = largest / guiding.LEVELS, from = (3 * slot + k) * size;
    return Float32Array.from(levels.subarray(from, from + size), (level) => level * scale);
  }),
  // (C, H, W) latents by the linear map without its bias: (g H, g W, 3), 1 is white and -1 black.
  decoded: (latents, map, { channels, height, width, factor: g }) => {
    const places = height * width, wide = g * width, square = g * g, patch = 3 * square;
    const made = new Float32Array(patch * places), sum = new Float64Array(patch), none = new Float32Array(patch);
    const row = (c) => (c < channels ? map.subarray(c * patch, (c + 1) * patch) : none);
    const rows = Array.from({ length: channels + 3 }, (_, c) => row(c));
    for (let p = 0; p < places; p++) {
      sum.fill(0);
      for (let c = 0; c < channels; c += 4) { // four at a time, in half the time
        const [k, l, m, n] = [0, 1, 2, 3].map((more) => latents[(c + more) * places + p] || 0);
        const one = rows[c], two = rows[c + 1], three = rows[c + 2], four = rows[c + 3];
        for (let j = 0; j < patch; j++) sum[j] += k * one[j] + l * two[j] + m * three[j] + n * four[j];
      }
      const y = Math.floor(p / width), x = p % width;
      for (let dy = 0, j = 0; dy < g; dy++) {
        for (let dx = 0, at = 3 * ((g * y + dy) * wide + g * x); dx < g; dx++, j++) {
          made[at++] = sum[j]; made[at++] = sum[j + square]; made[at++] = sum[j + 2 * square];
        }
      }
    }
    return made;
  },
  // (H, W) mean over channels of |x0_cond - x0_uncond|
  apart: ([uncond, cond], { channels, height, width }) => {
    const made = new Float32Array(height * width);
    uncond.forEach((value, i) => { made[i % made.length] += Math.abs(cond[i] - value) / channels; });
    return made;
  },
  // Pixels of a sum of decoded pictures, into the bytes of an ImageData.
  pixels: ([a, b, c], [uncond, cond, x], bias, bytes) => {
    for (let i = 0, from = 0; i < bytes.length; i += 4) {
      for (let k = 0; k < 3; k++, from++) {
        const value = a * uncond[from] + b * cond[from] + (c ? c * x[from] : 0) + bias[k];
        bytes[i + k] = (value + 1) * 127.5; // rounded and clipped
      }
      bytes[i + 3] = 255;
    }
  },
};
const guided = { key: null, scale: null, rescale: null, files: new Map() }; // null: as the run did it

register({
  name: 'guidance',
  title: 'Guidance',
  there: (run) => {
    if (!run.parts) return 'Still being worked out.';
    if (!run.parts.guidance) return 'This run has no steps to guide.';
    return run.parts.guidance.why || true;
  },
  build: (body, run) => {
    const part = run.parts.guidance, { factor, count } = part;
    if (guided.key !== run.key) Object.assign(guided, { key: run.key, scale: null, rescale: null, files: new Map() });
    const size = part.channels * part.height * part.width;
    const file = (at, Kind) => { // each is fetched once
      if (!guided.files.has(at.url)) guided.files.set(at.url, numbersOf(at, Kind));
      return guided.files.get(at.url);
    };
    const slots = [];
    part.steps.reduce((slot, step, i) => { slots[i] = slot; return slot + (step ? 1 : 0); }, 0);

    const box = make('div', null, { class: 'guidebox' }), controls = make('div', null, { class: 'controls' });
    const dial = (name, title, low, high, step) => {
      const label = make('label', title), slider = make('input', null, { type: 'range', min: low, max: high, step, 'aria-label': title });
      const typed = make('input', null, { type: 'number', min: low, max: high, step: 'any', 'aria-label': `${title}, as a number` });
      const row = make('div', null, { class: 'dial' });
      slider.dataset.dial = typed.dataset.dial = name;
      const take = (value) => {
        if (!Number.isFinite(value)) return;
        guided[name] = Math.min(high, Math.max(low, value));
        ask();
      };
      slider.addEventListener('input', () => take(slider.valueAsNumber));
      typed.addEventListener('input', () => take(typed.valueAsNumber));
      row.append(label, slider, typed);
      controls.append(row);
      return { row, set: (value, on = true) => {
        slider.value = value;
        slider.style.setProperty('--done', `${(100 * (value - low)) / (high - low)}%`);
        if (document.activeElement !== typed || typed.valueAsNumber !== value) typed.value = +value.toFixed(3);
        slider.disabled = typed.disabled = !on;
      } };
    };
    const scaleDial = dial('scale', 'Guidance', -2, 30, 0.1), rescaleDial = dial('rescale', 'Rescale', 0, 1, 0.05);
    const reset = make('button', 'As in the run', { type: 'button', class: 'pill' });
    const branch = make('button', 'Go on from here with this', { type: 'button', class: 'pill branch' });
    const acts = make('div', null, { class: 'acts' }), said = make('p', null, { class: 'note', role: 'status' });
    acts.append(reset, branch);
    controls.append(acts);

    const row = make('div', null, { class: 'anatomy' });
    const tile = (name, title, how) => {
      const figure = make('figure'), canvas = make('canvas', null, { role: 'img', 'aria-label': `${title}: ${run.prompt}` }), caption = make('figcaption');
      figure.dataset.name = name;
      caption.append(make('b', title), make('span', how));
      figure.append(canvas, caption);
      row.append(figure);
      return { figure, canvas, title: caption.firstChild };
    };
    const by = 'decoded by the linear map';
    const tiles = { uncond: tile('uncond', 'Without the prompt', by), cond: tile('cond', 'With the prompt', by), guided: tile('guided', 'Guided', by) };
    for (const { canvas } of Object.values(tiles)) { canvas.width = factor * part.width; canvas.height = factor * part.height; }
    const heated = tile('guidance', 'How far apart', 'not decoded: mean |x0_cond - x0_uncond| per latent, as heat');
    heated.canvas.width = part.width; heated.canvas.height = part.height;
    const plots = part.curves.map(plot), curves = make('div', null, { class: 'curves' });
    curves.append(...plots.map((each) => each.figure));
    box.append(controls, said, row, curves);
    body.append(box);

    let shown = null; // {index, parts: decoded pictures, bias}
    const image = new ImageData(factor * part.width, factor * part.height);
    const put = ({ canvas }, weights) => {
      guiding.pixels(weights, shown.parts, shown.bias, image.data);
      canvas.getContext('2d').putImageData(image, 0, 0);
    };
    const values = (step) => [guided.scale ?? step.scale, part.rescales ? guided.rescale ?? step.rescale : 0];
    const redrawGuided = () => {
      const step = part.steps[state.index];
      if (!step || !shown || shown.index !== state.index) return;
      const [scale, rescale] = values(step), weights = guiding.weights(step, scale, rescale);
      if (weights[2] && !shown.parts[2]) shown.parts[2] = guiding.decoded(shown.latents[2], shown.map, part);
      put(tiles.guided, weights);
      Object.assign(tiles.guided.canvas.dataset, { index: state.index, scale, rescale });
    };
    const words = (step, scale, rescale) => {
      const same = Math.abs(scale - step.scale) < 5e-4 && Math.abs(rescale - step.rescale) < 5e-4;
      const was = `guidance ${+step.scale.toFixed(2)}${part.rescales ? `, rescale ${+step.rescale.toFixed(2)}` : ''}`;
      const changes = part.schedule === 'constant' ? '' : ` (the run's schedule is ${part.schedule})`;
      return { same, line: same ? `As this step was made: ${was}${changes}.` : `This step was made with ${was}${changes}.` };
    };
    const settle = () => {
      const step = part.steps[state.index];
      row.hidden = acts.hidden = !step;
      const [scale, rescale] = step ? values(step) : [1, 0];
      scaleDial.set(scale, Boolean(step));
      rescaleDial.set(rescale, Boolean(step));
      rescaleDial.row.hidden = !part.rescales;
      if (!step) { said.textContent = 'Guidance was off at this step: the network was asked about the prompt alone.'; return; }
      const { same, line } = words(step, scale, rescale);
      reset.disabled = same;
      const slow = part.schedule === 'linear' || part.schedule === 'cosine';
      branch.hidden = Boolean((props.value || {}).offline) || slow;
      branch.disabled = same;
      const held = part.rescales ? '' : ' A part of the picture was kept, so there is no rescale here.';
      said.textContent = line + held;
      tiles.guided.title.textContent = `Guided at ${+scale.toFixed(2)}`;
    };
    let due = false;
    const ask = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => { due = false; settle(); redrawGuided(); });
    };
    reset.addEventListener('click', () => { guided.scale = guided.rescale = null; ask(); });
    branch.addEventListener('click', () => {
      const [cfg_scale, cfg_rescale] = values(part.steps[state.index]);
      trigger('branch', { at: state.index, settings: { cfg_scale, cfg_rescale } });
    });

    const look = (index) => {
      const step = part.steps[index];
      if (!step) return;
      if (shown && shown.index === index) { redrawGuided(); return; }
      const slot = slots[index];
      Promise.all([file(part.files[Math.floor(slot / count)], Int16Array), file(part.map, Float32Array)]).then(([levels, numbers]) => {
        if (index !== state.index || !body.isConnected) return;
        const latents = guiding.unpacked(levels, slot % count, step, size);
        const map = numbers.subarray(0, numbers.length - 3), bias = numbers.subarray(numbers.length - 3);
        const parts = latents.slice(0, 2).map((each) => guiding.decoded(each, map, part));
        shown = { index, latents, map, bias, parts };
        put(tiles.uncond, [1, 0, 0]);
        put(tiles.cond, [0, 1, 0]);
        const apart = guiding.apart(latents, part);
        heated.canvas.getContext('2d').drawImage(cells(apart, part.width, part.height, (value) => [...heat(value / part.apart), 255]), 0, 0);
        redrawGuided();
      });
    };
    return { step: (index) => {
      plots.forEach((each) => each.step(index));
      settle();
      look(index);
    } };
  },
});
