// The runs as a tree of buttons.  One of them may have its menu open, which survives what the server sends.
const roots = element.querySelector('.roots');
let opened = null, mode = null, typed = '';

const button = (text, does, attributes = {}) => {
  const made = make('button', text, { type: 'button', ...attributes });
  made.addEventListener('click', does);
  return made;
};
const change = (run, to, text = '') => {
  [opened, mode, typed] = [run, to, text];
  show();
  element.querySelector('.menu input, .menu button').focus();
};
const shut = (run) => { // back to the button that opened it
  [opened, mode] = [null, null];
  show();
  [...element.querySelectorAll('.run')].find((each) => each.dataset.run === run)?.querySelector('.more').focus();
};
const discard = (run) => { // the focus goes to the run that takes its place
  const all = [...element.querySelectorAll('.run')], at = all.findIndex((each) => each.dataset.run === run);
  [opened, mode] = [null, null];
  all[all[at + 1] ? at + 1 : at - 1]?.querySelector('.more').focus();
  trigger('discard', { run });
};
const menuOf = (tile) => {
  const menu = make('div', null, { class: 'menu', role: 'group', 'aria-label': `More about ${tile.title}` });
  menu.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { event.stopPropagation(); shut(tile.run); }
  });
  if (mode === 'name') {
    const form = make('form'), field = make('input', null, { type: 'text', maxlength: 80, 'aria-label': 'Name of this run', placeholder: 'A name' });
    field.value = typed;
    field.addEventListener('input', () => { typed = field.value; });
    form.append(field, make('button', 'Save', { type: 'submit' }));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      trigger('called', { run: tile.run, name: field.value });
      shut(tile.run);
    });
    menu.append(form);
  } else if (mode === 'sure') {
    menu.append(
      make('span', 'Delete this run for good?'),
      button('Delete', () => discard(tile.run), { class: 'sure' }),
      button('Keep', () => shut(tile.run))
    );
  } else {
    const { shown, other } = props.value;
    menu.append(button('Rename', () => change(tile.run, 'name', tile.name)));
    if (shown && tile.run !== shown) {
      const on = tile.run === other;
      menu.append(button(on ? 'Stop comparing' : 'Compare', () => { trigger('beside', { run: tile.run }); shut(tile.run); }));
    }
    menu.append(button('Delete', () => change(tile.run, 'sure')));
  }
  return menu;
};
const runOf = (tile) => {
  const row = make('div', null, { class: 'run' }), open = opened === tile.run;
  row.dataset.run = tile.run;
  const shown = tile.run === props.value.shown;
  row.toggleAttribute('data-shown', shown);
  const pick = button(null, () => trigger('pick', { run: tile.run }), { class: 'pick' });
  if (shown) pick.setAttribute('aria-current', 'true');
  const words = make('span');
  words.append(make('span', tile.title, { class: 'title' }), make('span', tile.said, { class: 'said' }));
  const state = [tile.state, tile.run === props.value.other ? 'compared' : ''].filter(Boolean).join(', ');
  if (state) words.append(make('span', state, { class: 'state' }));
  pick.title = `${tile.title}\n${tile.said}`;
  pick.append(tile.thumb ? make('img', null, { class: 'thumb', src: tile.thumb, alt: '' }) : make('span', null, { class: 'thumb' }), words);
  const more = button('⋯', () => (open ? shut(tile.run) : change(tile.run, 'menu')), {
    class: 'more', 'aria-expanded': open, 'aria-label': `Rename, compare or delete ${tile.title}` });
  row.append(pick, more);
  return row;
};
const itemOf = (tile) => {
  const item = make('li');
  item.append(runOf(tile));
  if (opened === tile.run) item.append(menuOf(tile));
  if (tile.branches.length) {
    const list = make('ul');
    list.append(...tile.branches.map(itemOf));
    item.append(list);
  }
  return item;
};
const show = () => {
  const given = props.value || { roots: [] };
  const focused = document.activeElement, inside = roots.contains(focused) && focused;
  const at = inside && [inside.closest('li')?.querySelector('.run')?.dataset.run, inside.className, inside.tagName];
  element.querySelector('.tree').hidden = !given.roots.length;
  roots.replaceChildren(...given.roots.map(itemOf));
  if (!at) return; // the focus stays where it was
  const row = [...roots.querySelectorAll('.run')].find((each) => each.dataset.run === at[0]);
  const found = at[2] === 'INPUT' ? roots.querySelector('.menu input') : row && at[1] && row.querySelector(`.${at[1].split(' ')[0]}`);
  if (found) found.focus();
};
watch('value', show);
show();
