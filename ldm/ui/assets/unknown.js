const PAUSE = 350; // ms without a key: then a word is whole
const line = element.querySelector('p');
const textarea = () => document.querySelector(`#${element.closest('[id^=ld-unknown-]').id.replace('ld-unknown-', '')} textarea`);
const button = ({ text, replaces }) => {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.title = `Write “${text}” in place of “${replaces}”`;
  made.addEventListener('click', (event) => {
    trigger('replace', { word: replaces, by: text });
    if (event.detail === 0) textarea().focus(); // by the keyboard: the button is about to go
  });
  return made;
};
const show = () => line.replaceChildren(...(props.value || []).map((piece) => piece.replaces ? button(piece) : piece.text));
watch('value', show);
show();
let waiting;
line.addEventListener('typed', () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => trigger('ask'), PAUSE);
});
