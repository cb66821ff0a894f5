// Sorts tables by a column, with empty cells last; a row highlights its point.
for (const table of findAll('table[data-sortable]')) {
  const heads = findAll('thead th', table);
  heads.forEach((head, column) => {
    const button = find('button', head);
    if (button) button.addEventListener('click', () => sortBy(table, heads, column));
  });
}

function sortBy(table, heads, column) {
  const direction = heads[column].getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
  const sign = direction === 'ascending' ? 1 : -1;
  for (const head of heads) head.removeAttribute('aria-sort');
  heads[column].setAttribute('aria-sort', direction);
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.sort ?? '';
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b), sign)));
}

function compare(a, b, sign) {
  if (a === '' || b === '') return (a === '') - (b === '');
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  return sign * a.localeCompare(b, 'en', { numeric: true });
}

for (const row of findAll('tr[data-point]')) {
  const number = Number(row.dataset.point);
  row.addEventListener('pointerenter', () => highlight(number));
  row.addEventListener('pointerleave', () => highlight(null));
  row.addEventListener('focusin', () => highlight(number));
  row.addEventListener('focusout', () => highlight(null));
}
whenHighlighted((number) => {
  for (const row of findAll('[data-point]')) row.classList.toggle('on', number !== null && row.dataset.point === String(number));
});
