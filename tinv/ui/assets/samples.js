// Samples as a grid of prompts and steps, with one step enlarged above it.
const sampleControls = find('#sample-controls');
const MAX_COLUMNS = 60;
let concepts = [];
let isAtNewest = true;
let playing = null;

const concept = () => concepts[Number(sampleControls.elements.concept.value) || 0];
const column = () => Number(sampleControls.elements.column.value) || 0;

function sampleUrl(runId, of, sheet, row, seed, side) {
  const query = new URLSearchParams({ sheet: sheet.path, index: row * of.columns.length + seed, side, version: sheet.version });
  return `${url('sample', runId)}?${query}`;
}

function showSamples(run) {
  concepts = run.samples.filter((item) => item.sheets.length);
  find('#no-samples').hidden = sampleControls.hidden = concepts.length > 0;
  sampleControls.hidden = !concepts.length;
  if (!concepts.length) return;
  const { concept: choice, column: seeds, step } = sampleControls.elements;
  find('#concept-choice').hidden = concepts.length < 2;
  setOptions(choice, concepts.map((item, i) => [i, item.concept]));
  setOptions(seeds, concept().columns.map((label, i) => [i, label]));
  step.max = concept().sheets.length - 1;
  if (isAtNewest) step.value = step.max;
  drawFilm();
  drawStage();
}

function setOptions(select, entries) {
  const { value } = select;
  replace(select, entries, () => entries.map(([key, label]) => make('option', { value: key }, label)));
  if (entries.some(([key]) => String(key) === value)) select.value = value;
}

function drawStage() {
  const { step, 'current-step': output } = sampleControls.elements;
  const sheet = concept().sheets[Number(step.value)];
  output.value = sheet.step;
  const stage = find('#stage');
  replace(stage, concept().rows, () => concept().rows.map((prompt, row) => {
    const button = make('button', { type: 'button', class: 'thumb', 'data-row': row, 'aria-label': `Compare: ${prompt}` }, make('img', { alt: prompt, decoding: 'async' }));
    return make('figure', { class: 'stage-item' }, button, make('figcaption', {}, prompt));
  }));
  for (const image of findAll('img', stage)) {
    const address = sampleUrl(report.run.id, concept(), sheet, Number(image.parentNode.dataset.row), column(), 1024);
    if (image.getAttribute('src') !== address) image.src = address;
    image.onload = () => image.classList.toggle('pixels', image.naturalWidth <= 160);
  }
  for (const thumb of findAll('#film .thumb')) thumb.classList.toggle('chosen', Number(thumb.dataset.sheet) === Number(step.value));
}

function drawFilm() {
  const film = find('#film');
  const sheets = concept().sheets.map((sheet, i) => [i, sheet]).filter(([i], _, all) => all.length <= MAX_COLUMNS || i === all.length - 1 || i % Math.ceil(all.length / MAX_COLUMNS) === 0);
  const wasAtEnd = film.scrollWidth - film.clientWidth - film.scrollLeft < 24;
  const focused = film.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  replace(film, [concept().concept, column(), sheets], () => [
    make('div', { class: 'film-row film-head' }, make('span', { class: 'film-prompt' }, 'step'), ...sheets.map(([, sheet]) => make('span', {}, String(sheet.step)))),
    ...concept().rows.map((prompt, row) => make('div', { class: 'film-row' }, make('span', { class: 'film-prompt' }, prompt), ...sheets.map(([i, sheet]) => filmThumb(prompt, row, i, sheet)))),
  ]);
  if (wasAtEnd) film.scrollLeft = film.scrollWidth;
  if (focused) find(`[data-key="${focused}"]`, film)?.focus();
}

function filmThumb(prompt, row, i, sheet) {
  const image = make('img', { src: sampleUrl(report.run.id, concept(), sheet, row, column(), 96), alt: '', loading: 'lazy', decoding: 'async' });
  image.addEventListener('error', () => image.replaceWith(make('span', { class: 'broken' }, 'not finite')));
  return make('button', { type: 'button', class: 'thumb', 'data-row': row, 'data-sheet': i, 'data-key': `${row}.${sheet.step}`, 'aria-label': `${prompt}, step ${sheet.step}: compare` }, image);
}

sampleControls.addEventListener('submit', (event) => event.preventDefault());
sampleControls.addEventListener('input', (event) => {
  const { step } = sampleControls.elements;
  isAtNewest = Number(step.value) === Number(step.max);
  if (event.target.name !== 'step') showSamples({ samples: concepts });
  else drawStage();
});
find('#samples').addEventListener('click', (event) => {
  const thumb = event.target.closest('.thumb');
  if (thumb) openCompare(concept(), Number(thumb.dataset.row), column(), Number(thumb.dataset.sheet ?? sampleControls.elements.step.value));
});
find('#open-compare').addEventListener('click', () => openCompare(concept(), 0, column(), Number(sampleControls.elements.step.value)));
find('#play-steps').addEventListener('click', (event) => {
  const { step } = sampleControls.elements;
  const stop = () => {
    clearInterval(playing);
    playing = null;
    event.target.textContent = 'Play';
  };
  if (playing) {
    stop();
    return;
  }
  event.target.textContent = 'Stop';
  if (step.value === step.max) step.value = 0;
  drawStage();
  playing = setInterval(() => {
    if (step.value === step.max) stop();
    else step.value = Number(step.value) + 1;
    isAtNewest = step.value === step.max;
    drawStage();
  }, 450);
});
