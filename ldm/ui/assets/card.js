// What a file is, whether it can be opened, and why one thinks so.
const WORDS = { open: 'In use', loads: 'Loads', part: 'No model by itself', refused: 'Cannot be opened' };
let before = null;
const show = () => {
  const file = props.value;
  $('.card').hidden = !file;
  if (!file) return;
  $('.card').dataset.verdict = file.verdict;
  $('.card').setAttribute('aria-label', file.name);
  $('.verdict b').textContent = WORDS[file.verdict];
  $('.said').textContent = file.said;
  $('.title').textContent = file.title;
  $('.name').replaceChildren(make('span', file.where || file.name, { class: 'file' }), ...file.facts.map((fact) => make('span', fact)));
  $('.made').hidden = !file.parts.length;
  $('.made').replaceChildren(...bar(file.parts));
  $('h3').hidden = !file.evidence.length;
  $('.why').replaceChildren(...file.evidence.map((line) => make('li', line)));
  // on a phone it lies below the list that it was chosen from
  if (before && before !== file.name && element.getBoundingClientRect().top > innerHeight / 2) element.scrollIntoView();
  before = file.name;
};
watch('value', show);
show();
