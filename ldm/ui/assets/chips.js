const { examples, vocabulary } = props.value;
const button = (text, pick) => {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.addEventListener('click', pick);
  return made;
};
element.querySelector('.examples').replaceChildren(
  ...examples.map((text) => button(text, () => trigger('example', { text })))
);
const kinds = Object.entries(vocabulary).filter(([, words]) => words.length);
if (kinds.length) {
  const hint = document.createElement('p');
  hint.textContent = 'It has learned these words and no others. A click puts one into the prompt.';
  element.querySelector('details').hidden = false;
  element.querySelector('.kinds').replaceChildren(hint, ...kinds.map(([kind, words]) => {
    const group = document.createElement('section');
    const title = document.createElement('h3');
    title.textContent = kind;
    const row = document.createElement('div');
    row.className = 'words';
    row.append(...words.map((text) => button(text, () => trigger('word', { text }))));
    group.append(title, row);
    return group;
  }));
}
