// The contact sheet: step, seed, size and order.
const sheet = find('[data-sheet]');
const sheetControls = find('[data-sheet-controls]');
const thumbs = sheet ? findAll('.thumb', sheet) : [];
for (const thumb of thumbs) {
  const frames = report.frames[`${thumb.dataset.row}.${thumb.dataset.column}.${thumb.dataset.seed}`] ?? {};
  thumb.frames = new Map(Object.entries(frames).map(([step, url]) => [Number(step), url]));
  thumb.frames.set(Number(thumb.dataset.step), find('img', thumb).getAttribute('src'));
  thumb.steps = [...thumb.frames.keys()].sort((a, b) => a - b);
}
if (sheetControls) {
  sheetControls.addEventListener('input', (event) => update(event.target.name));
  sheetControls.addEventListener('submit', (event) => event.preventDefault());
  whenResized(sheet, fitSize);
}

// Fits all seeds of a prompt into a row, unless the user has set a size.
function fitSize() {
  const { size } = sheetControls.elements;
  const cell = find('.thumbs', sheet);
  if (!cell || 'chosen' in size.dataset) return;
  const across = Math.min(thumbs.filter((thumb) => thumb.parentNode === cell).length, 8);
  size.value = Math.max(48, Math.min(176, Math.floor((cell.clientWidth + 4) / across) - 5));
  sheet.style.setProperty('--thumb', `${size.value}px`);
}

function update(control) {
  const { step, seed, size, order } = sheetControls.elements;
  if (control === 'step') showStep(report.steps[Number(step.value)]);
  if (control === 'seed') for (const thumb of thumbs) thumb.hidden = seed.value !== '' && thumb.dataset.seed !== seed.value;
  if (control === 'size') {
    size.dataset.chosen = '';
    sheet.style.setProperty('--thumb', `${size.value}px`);
  }
  if (control === 'order') reorder(order.value);
}

// Each row shows its samples of the step, or of the last step before it.
function showStep(step) {
  sheetControls.elements['current-step'].value = step;
  for (const thumb of thumbs) show(thumb, thumb.steps.findLast((other) => other <= step) ?? thumb.steps[0]);
  for (const row of findAll('.sheet-row[data-point]', sheet)) {
    const first = find('.thumb', row);
    const label = find('[data-current-step]', row);
    if (first && label) label.textContent = `step ${first.dataset.step}`;
  }
}

function show(thumb, step) {
  const url = thumb.frames.get(step);
  const image = find('img', thumb);
  thumb.dataset.step = step;
  image.hidden = !url;
  find('.broken', thumb).hidden = Boolean(url);
  if (url) image.src = url;
}

function reorder(by) {
  const sign = report.direction === 'maximize' ? -1 : 1;
  const points = new Map(report.points.map((point) => [String(point.number), point]));
  const rows = findAll('.sheet-row[data-point]', sheet);
  const value = (row) => points.get(row.dataset.point)?.value ?? null;
  rows.sort((a, b) => {
    if (by === 'number') return Number(a.dataset.point) - Number(b.dataset.point);
    if (value(a) === null || value(b) === null) return (value(a) === null) - (value(b) === null);
    return sign * (value(a) - value(b));
  });
  sheet.append(...rows);
}
