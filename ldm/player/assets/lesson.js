// A short lesson on this run: a card at a time, each of which sets the lanes and the step that it speaks of.
const LESSON = [
  { title: 'It starts as noise', lanes: ['x_t'], at: 0,
    text: (run) => `This is everything the computer starts with: random numbers, drawn as colours. Nothing in it knows of “${run.prompt}”. Another seed would be another field of noise, and another picture.` },
  { title: 'A guess, at once', lanes: ['x_t', 'x0'], at: 0,
    text: () => 'A network looks at the noise and at your words, and says what clean picture might be under it. At the first step it can only guess, so its guess is blurred: the average of all pictures it could be.' },
  { title: 'Picture and noise, pulled apart', lanes: ['x_t', 'x0', 'eps'], at: 0.3,
    text: (run, i) => `What it sees is always picture plus noise: x_t = x0 + ${number(run.sigma[i])} · noise. When it guesses the one, it has said the other. Point at a place: the same place is marked in all three.` },
  { title: 'A small step, then look again', lanes: ['x_t', 'x0'], at: 0.45,
    text: (run, i) => `It does not jump to its guess. It goes a part of the way, from noise level ${number(run.sigma[i])} to ${number(run.sigma_next[i])}, and asks again. Press play and watch the guess sharpen.` },
  { title: 'Coarse first, fine last', lanes: ['x0', 'change'], at: 0.6, panel: 'when',
    text: () => 'Large shapes and colours are decided early, edges and texture late. Below you see at which step each place took its final colour.' },
  { title: 'What the words do', lanes: ['x0_uncond', 'x0_cond', 'x0'], at: 0.2, panel: 'guidance',
    text: () => 'The network is asked twice: without your words and with them. Guidance goes from the first answer through the second and beyond. Drag the slider below: too little and the words hardly count, too much and colours burn.' },
  { title: 'Which word looked where', lanes: ['x0'], at: 0.4, panel: 'words',
    text: () => 'Inside the network each place of the picture listens to the words. Choose one below to see where it was heard. Heard is not yet obeyed: mute the word and see what really moves.' },
  { title: 'The end', lanes: ['x0'], at: 1,
    text: (run) => `After ${run.steps} steps there is no noise left. The last latents go through the decoder and are your picture. Now go back to any step, change something, and go on from there.` },
];
register({
  name: 'lesson',
  title: 'Lesson',
  there: () => true,
  build: (body, run) => {
    const box = make('div', null, { class: 'teach' });
    body.append(make('p', 'Eight short cards that walk through this run. Each sets the lanes and the step that it speaks of.', { class: 'note' }), box);
    const start = make('button', 'Start the lesson', { type: 'button', class: 'pill' });
    start.addEventListener('click', () => teach(0));
    box.append(start);
    return {};
  },
});
// The card lies above the lanes, so that it stays while panels change below.
const card = make('aside', null, { class: 'card', 'aria-label': 'Lesson', hidden: '' });
$('.pick').before(card);
const leave = () => { card.hidden = true; card.replaceChildren(); };
const teach = (n) => {
  const { run } = state, page = LESSON[n];
  state.shown = page.lanes.filter(shows);
  if (!state.shown.length) state.shown = ['x0'];
  layPick();
  layLanes();
  if (page.panel && panels.some((each) => each.name === page.panel)) openPanel(page.panel);
  seek(Math.round(page.at * (run.steps - 1)));
  const buttons = make('div', null, { class: 'go' });
  const button = (text, does, off) => { const made = make('button', text, { type: 'button', class: 'pill' }); made.disabled = off; made.addEventListener('click', does); buttons.append(made); return made; };
  button('Back', () => teach(n - 1), n === 0);
  const next = button(n + 1 < LESSON.length ? 'Next' : 'Done', () => (n + 1 < LESSON.length ? teach(n + 1) : leave()), false);
  button('Leave the lesson', leave, false);
  card.hidden = false;
  card.replaceChildren(make('p', `${n + 1} of ${LESSON.length}`, { class: 'count' }), make('h3', page.title), make('p', page.text(run, state.index), { class: 'words' }), buttons);
  card.setAttribute('tabindex', '-1');
  next.focus({ preventScroll: true });
  card.scrollIntoView({ block: 'nearest', behavior: still.matches ? 'auto' : 'smooth' });
};
heard.run.push((same) => { if (!same) leave(); });
