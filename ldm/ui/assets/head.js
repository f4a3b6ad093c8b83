const show = () => {
  for (const place of element.querySelectorAll('[data-is]')) place.textContent = (props.value || {})[place.dataset.is] || '';
};
watch('value', show);
show();
