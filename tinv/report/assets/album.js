// The contact sheet: which step, which seed, how large, in which order.
const album = find('[data-album]');
const albumControls = find('[data-album-controls]');
const thumbs = album ? findAll('.thumb', album) : [];
for (const thumb of thumbs) {
  const known = report.frames[`${thumb.dataset.row}.${thumb.dataset.column}.${thumb.dataset.seed}`] ?? {};
  thumb.frames = new Map(Object.entries(known).map(([step, picture]) => [Number(step), picture]));
  thumb.frames.set(Number(thumb.dataset.step), find('img', thumb).getAttribute('src'));
  thumb.steps = [...thumb.frames.keys()].sort((a, b) => a - b);
}
if (albumControls) {
  albumControls.addEventListener('input', (event) => arrange(event.target.name));
  albumControls.addEventListener('submit', (event) => event.preventDefault());
  whenResized(album, fitSize);
}

// As large as lets all seeds of a prompt stand side by side, until somebody chooses a size.
function fitSize() {
  const { size } = albumControls.elements;
  const cell = find('.thumbs', album);
  if (!cell || 'chosen' in size.dataset) return;
  const across = Math.min(thumbs.filter((thumb) => thumb.parentNode === cell).length, 8);
  size.value = Math.max(48, Math.min(176, Math.floor((cell.clientWidth + 4) / across) - 5));
  album.style.setProperty('--thumb', `${size.value}px`);
}

function arrange(what) {
  const { step, seed, size, order } = albumControls.elements;
  if (what === 'step') showStep(report.steps[Number(step.value)]);
  if (what === 'seed') for (const thumb of thumbs) thumb.hidden = seed.value !== '' && thumb.dataset.seed !== seed.value;
  if (what === 'size') {
    size.dataset.chosen = '';
    album.style.setProperty('--thumb', `${size.value}px`);
  }
  if (what === 'order') reorder(order.value);
}

// Each row shows what it had at the step, or the last it had before.
function showStep(step) {
  albumControls.elements['step-shown'].value = step;
  for (const thumb of thumbs) show(thumb, thumb.steps.findLast((one) => one <= step) ?? thumb.steps[0]);
  for (const row of findAll('.album-row[data-point]', album)) {
    const first = find('.thumb', row);
    const place = find('[data-shown-step]', row);
    if (first && place) place.textContent = `step ${first.dataset.step}`;
  }
}

function show(thumb, step) {
  const picture = thumb.frames.get(step);
  const image = find('img', thumb);
  thumb.dataset.step = step;
  image.hidden = !picture;
  find('.broken', thumb).hidden = Boolean(picture);
  if (picture) image.src = picture;
}

function reorder(by) {
  const sign = report.direction === 'maximize' ? -1 : 1;
  const points = new Map(report.points.map((point) => [String(point.number), point]));
  const rows = findAll('.album-row[data-point]', album);
  const value = (row) => points.get(row.dataset.point)?.value ?? null;
  rows.sort((a, b) => {
    if (by === 'number') return Number(a.dataset.point) - Number(b.dataset.point);
    if (value(a) === null || value(b) === null) return (value(a) === null) - (value(b) === null);
    return sign * (value(a) - value(b));
  });
  album.append(...rows);
}
