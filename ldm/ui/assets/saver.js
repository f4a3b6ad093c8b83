// A value with a file in it is saved by the browser at once; `n` makes two equal files two values.
watch('value', () => {
  const given = props.value;
  if (!given || !given.file || !given.file.url) return;
  const link = document.createElement('a');
  link.href = given.file.url;
  link.download = given.file.orig_name || 'file';
  document.body.append(link);
  link.click();
  link.remove();
});
