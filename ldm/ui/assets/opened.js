const show = () => {
  const model = props.value;
  $('.opened').hidden = !model;
  if (!model) return;
  $('.name').textContent = model.name;
  $('.title').textContent = model.title;
  $('.facts').replaceChildren(...model.facts.map(([name, value]) => {
    const fact = make('div');
    fact.append(make('dt', name), make('dd', value));
    return fact;
  }));
  $('.made').replaceChildren(...bar(model.parts));
};
watch('value', show);
show();
