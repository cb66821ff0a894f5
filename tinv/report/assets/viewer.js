// An enlarged sample. Arrow keys select its neighbors, comma and full stop its steps.
const viewer = find('#viewer');
const GO = { ArrowLeft: 'left', ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down', ',': 'earlier', '.': 'later' };
let viewed = null;
let viewedStep = null;

for (const thumb of thumbs) thumb.addEventListener('click', () => view(thumb, Number(thumb.dataset.step), true));
for (const button of findAll('[data-go]', viewer)) button.addEventListener('click', () => go(button.dataset.go));
viewer.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in GO)) return;
  event.preventDefault();
  go(GO[event.key]);
});
viewer.addEventListener('close', () => {
  viewed?.focus();
  highlight(null);
});
viewer.addEventListener('click', (event) => {
  if (event.target === viewer) viewer.close();
});

function view(thumb, step, isNew = false) {
  viewed = thumb;
  viewedStep = step;
  const image = find('.stage img', viewer);
  const url = thumb.frames.get(step);
  image.classList.toggle('none', !url);
  if (url) image.src = url;
  else image.removeAttribute('src');
  image.alt = url ? `${thumb.dataset.prompt}, ${thumb.dataset.seedName}` : 'not finite';
  image.onload = () => image.classList.toggle('pixels', image.naturalWidth <= 160);
  const point = report.points.find((other) => String(other.number) === thumb.dataset.row);
  find('#viewer-title').textContent = thumb.dataset.prompt;
  const where = report.kind === 'sweep' ? `point ${point.number}${point.label ? ` · ${point.label}` : ''} · step ${step}` : `step ${step}`;
  const value = point && point.value !== null && report.kind === 'sweep' ? ` · ${report.monitor ?? 'value'} ${formatNumber(point.value)}` : '';
  find('[data-part=detail]', viewer).textContent = `${where} · ${thumb.dataset.seedName}${value}`;
  showSteps(thumb, step);
  if (report.kind === 'sweep') highlight(point.number);
  if (isNew) viewer.showModal();
}

function showSteps(thumb, step) {
  const strip = find('[data-part=steps]', viewer);
  find('[data-part=step-keys]', viewer).hidden = thumb.steps.length < 2;
  strip.replaceChildren();
  if (thumb.steps.length < 2) return;
  for (const other of thumb.steps) {
    const button = make('button', { type: 'button', 'aria-pressed': other === step, 'aria-label': `step ${other}` });
    if (thumb.frames.get(other)) button.append(make('img', { src: thumb.frames.get(other), alt: '' }));
    button.append(make('span', {}, String(other)));
    button.addEventListener('click', () => view(thumb, other));
    strip.append(button);
    if (other === step) button.scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
  }
}

function go(where) {
  if (where === 'earlier' || where === 'later') {
    const next = viewed.steps[viewed.steps.indexOf(viewedStep) + (where === 'later' ? 1 : -1)];
    if (next !== undefined) view(viewed, next);
    return;
  }
  const thumb = where === 'left' || where === 'right' ? beside(where === 'right' ? 1 : -1) : across(where === 'down' ? 1 : -1);
  if (thumb) view(thumb, thumb.steps.includes(viewedStep) ? viewedStep : Number(thumb.dataset.step));
}

function beside(by) {
  const row = findAll('.thumb:not([hidden])', viewed.closest('.sheet-row'));
  return row[row.indexOf(viewed) + by];
}

function across(by) {
  const { column, seed } = viewed.dataset;
  const same = findAll('.thumb:not([hidden])', sheet).filter((other) => other.dataset.column === column && other.dataset.seed === seed);
  return same[same.indexOf(viewed) + by];
}
