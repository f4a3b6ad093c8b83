// Which steps a branch keeps and how many it makes anew; follows the player's scrubber without asking the server.
const line = element.querySelector('.from');
const place = () => document.querySelector('#ld-scrubber .scrub');
let watched = null;
const say = () => {
  const step = place()?.dataset.step, total = props.value && props.value.steps;
  const none = step === undefined || !total;
  line.toggleAttribute('data-none', none);
  line.querySelector('b').textContent = '';
  line.querySelector('span').textContent = 'Another run can be made from any step of the one in the player; there is none yet.';
  if (none) return;
  const kept = Math.max(0, +step), left = total - kept;
  line.querySelector('b').textContent = `From step ${kept + 1} on, with:`;
  const before = kept === 0 ? 'No step stays as it is' : kept === 1 ? 'Step 1 stays as it is' : `Steps 1 to ${kept} stay as they are`;
  line.querySelector('span').textContent = left > 0
    ? `${before}; ${left} of ${total} ${left === 1 ? 'is' : 'are'} made anew. Move the scrubber to begin elsewhere.`
    : `The run would have ${total} steps and has made ${kept} of them already.`;
};
const observer = new MutationObserver(say);
const follow = () => {
  if (place() && place() !== watched) {
    watched = place();
    observer.disconnect();
    observer.observe(watched, { attributes: true, attributeFilter: ['data-step'] });
  }
  say();
};
watch('value', follow);
follow();
