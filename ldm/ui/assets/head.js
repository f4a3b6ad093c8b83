const show = () => {
  for (const place of element.querySelectorAll('[data-is]')) place.textContent = (props.value || {})[place.dataset.is] || '';
};
watch('value', show);
show();
// A button that goes off while it has the focus would drop it: whoever uses keys goes on at the next one of its
// row, and is back at the first as soon as that does something again.
let home = null, lent = null;
document.addEventListener('focusin', ({ target }) => { if (target !== lent) [home, lent] = [target, null]; });
const hold = () => {
  const now = lent || home, free = [document.body, now].includes(document.activeElement);
  if (!home?.isConnected || home.tagName !== 'BUTTON' || !free) return;
  const row = [...home.parentElement.querySelectorAll(':scope > button')], at = row.indexOf(now);
  const next = [home, ...row.slice(at), ...row.slice(0, at)].find((each) => !each.disabled);
  if (!next || (next === now && document.activeElement === now)) return;
  lent = next === home ? null : next;
  next.focus({ preventScroll: true });
};
new MutationObserver(() => setTimeout(hold)).observe(document, { attributes: true, attributeFilter: ['disabled'], subtree: true });
