// How opening goes; once another model is open and its page is served, this page loads itself again.
const PATIENCE = 60; // looks, half a second apart
let asking = false;
const layout = async () => {
  const answer = await fetch(`${(window.gradio_config?.root ?? '').replace(/\/$/, '')}/healthz`, { cache: 'no-store' });
  return (await answer.json()).layout;
};
const renew = async (before) => {
  if (asking) return;
  asking = true;
  for (let i = 0; i < PATIENCE; i += 1) {
    await new Promise((done) => { setTimeout(done, i ? 500 : 300); });
    if (await layout().catch(() => before) > before) break;
  }
  sessionStorage.setItem('ld-tab', 'Model');
  location.reload();
};
const show = () => {
  const { state = 'idle', said = '', share = null, layout: before } = props.value || {};
  const line = $('.opening');
  line.dataset.state = state;
  line.hidden = !said;
  $('.said').textContent = said;
  $('.track').hidden = state !== 'busy' && state !== 'opened';
  $('.done').classList.toggle('unsure', share === null);
  $('.done').style.width = share === null ? '' : `${100 * share}%`;
  if (state === 'opened') renew(before);
};
watch('value', show);
show();
