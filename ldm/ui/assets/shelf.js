// Files and folders as buttons.
const WORDS = { open: 'open', loads: 'loads', part: 'a part', refused: 'refused' };
const itemOf = (file) => {
  const item = make('li'), pick = make('button', null, { type: 'button', title: file.name });
  const top = make('span', null, { class: 'top' }), below = make('span', null, { class: 'below' });
  pick.dataset.verdict = file.verdict;
  pick.toggleAttribute('data-chosen', file.chosen);
  if (file.chosen) pick.setAttribute('aria-current', 'true');
  top.append(make('span', file.name, { class: 'name' }), make('span', WORDS[file.verdict], { class: 'mark' }));
  below.append(make('span', file.title, { class: 'title' }), make('span', file.size, { class: 'size' }));
  pick.append(top, below);
  pick.addEventListener('click', () => trigger('pick', { name: file.name }));
  item.append(pick);
  return item;
};
const show = () => {
  const files = props.value || [], list = $('ul'), focused = list.contains(document.activeElement) && document.activeElement.title;
  list.replaceChildren(...files.map(itemOf));
  $('.none').hidden = files.length > 0;
  if (focused) [...list.querySelectorAll('button')].find((each) => each.title === focused)?.focus();
};
watch('value', show);
show();
