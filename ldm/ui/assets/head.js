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
// An event that starts while the end of gradio's stream is on its way here would wait for the next event to be told
// of.  Where the server says that the stream had ended, gradio hears of its event once the page has let go of it.
const plain = window.fetch;
let gone = Promise.resolve(); // once the newest stream is let go of
window.fetch = async (...asked) => {
  const [{ url, signal }] = asked; // gradio asks for streams, and for nothing else, with a Request
  if (url?.includes('/queue/data?')) gone = new Promise((done) => { signal.addEventListener('abort', done, { once: true }); });
  const answer = await plain(...asked);
  if (answer.headers.get('x-stream') === 'ended') await Promise.race([gone, new Promise((done) => { setTimeout(done, 5000); })]);
  return answer;
};
