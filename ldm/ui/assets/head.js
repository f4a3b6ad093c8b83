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
// gradio hears of its events over two lines: the answer to the call that starts one, and a stream that tells of all.
// What the stream tells of an event whose answer is still on its way would be lost in part: it waits for the answer.
// And an event that starts while the end of the stream is on its way would be told of by none: where the server says
// that the stream had ended, the answer waits until gradio has let go of that, and so opens another.
const plain = window.fetch, time = (ms) => new Promise((done) => { setTimeout(done, ms); });
const starting = new Set(); // answers that are on their way
let gone = Promise.resolve(); // once the newest stream is let go of
const start = async (asked) => {
  const answer = plain(...asked).then(async (made) => new Response(await made.text(), made));
  const taken = answer.catch(() => {}).then(() => time(10)); // gradio takes it in meanwhile
  starting.add(taken);
  taken.then(() => starting.delete(taken));
  if ((await answer).status === 409) location.reload(); // another model was opened, and its page is another one
  if ((await answer).headers.get('x-stream') === 'ended') await Promise.race([gone, time(5000)]);
  return answer;
};
const listen = async (asked) => {
  gone = new Promise((done) => { asked[0].signal.addEventListener('abort', done, { once: true }); });
  const made = await plain(...asked);
  if (!made.body) return made;
  const transform = async (chunk, out) => { await Promise.all(starting); out.enqueue(chunk); };
  return new Response(made.body.pipeThrough(new TransformStream({ transform })), made);
};
window.fetch = async (...asked) => {
  const to = String(asked[0].url ?? asked[0]);
  return to.includes('/queue/join?') ? start(asked) : to.includes('/queue/data?') && asked[0].signal ? listen(asked) : plain(...asked);
};
// A page that loaded itself again goes back to the tab that it was on.
const back = sessionStorage.getItem('ld-tab');
if (back) {
  sessionStorage.removeItem('ld-tab');
  const go = (rest) => {
    const found = [...document.querySelectorAll('.tab-container [role=tab]')].find((each) => each.textContent.trim() === back);
    if (found) found.click();
    else if (rest) setTimeout(go, 100, rest - 1);
  };
  setTimeout(go, 0, 50);
}
