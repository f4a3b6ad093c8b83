// What every script of ours begins with; `element` comes from the host.
const $ = (query) => element.querySelector(query);
const given = (made, attributes) => {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const make = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  return given(made, attributes);
};
const svg = (tag, attributes = {}) => given(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes);
