const SHOWN = 6;
const { examples, vocabulary } = props.value;
const button = (text, event) => {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.addEventListener('click', () => trigger(event, { text }));
  return made;
};
const group = (name, words, event) => {
  const made = document.createElement('section'), title = document.createElement('h3'), row = document.createElement('div');
  title.textContent = name;
  row.className = 'words';
  row.append(...words.map((text) => button(text, event)));
  made.append(title, row);
  return made;
};
element.querySelector('.examples').replaceChildren(...examples.slice(0, SHOWN).map((text) => button(text, 'example')));
const kinds = Object.entries(vocabulary).filter(([, words]) => words.length);
const rest = examples.slice(SHOWN);
const groups = kinds.map(([kind, words]) => group(kind, words, 'word'));
if (rest.length) groups.unshift(group('more examples', rest, 'example'));
if (kinds.length) {
  const hint = document.createElement('p');
  hint.textContent = 'It has learned these words and no others. A click puts one into the prompt.';
  groups.unshift(hint);
}
element.querySelector('details').hidden = groups.length === 0;
element.querySelector('.kinds').replaceChildren(...groups);
