const show = () => {
  const runs = props.value || [];
  element.querySelector('.sheet').hidden = runs.length === 0;
  element.querySelector('.strip').replaceChildren(...runs.map((run) => {
    const button = document.createElement('button'), image = document.createElement('img');
    button.type = 'button';
    const url = run.file ? run.file.url : run.src;
    image.alt = `${run.prompt}, seed ${run.seed}`;
    button.title = image.alt;
    button.toggleAttribute('data-running', !run.file);
    if (url) { image.src = url; button.append(image); }
    else button.setAttribute('aria-label', image.alt);
    if (run.count > 1) {
      const many = document.createElement('span');
      many.textContent = run.count;
      button.append(many);
    }
    button.addEventListener('click', () => trigger('pick', { run: run.run }));
    return button;
  }));
};
watch('value', show);
show();
