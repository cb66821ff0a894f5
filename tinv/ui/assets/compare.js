// Two samples over the whole window: two steps of a run, or two runs.
const compare = find('#compare');
const compareControls = find('#compare-controls');
const compareSides = find('#compare-sides');
const boundary = find('#compare-boundary');
const otherRuns = new Map([[report.run.id, report.run]]);
let comparedConcept = '';

async function openCompare(of, row, seed, sheet) {
  comparedConcept = of.concept;
  const { row: rows, column: seeds } = compareControls.elements;
  setOptions(rows, of.rows.map((prompt, i) => [i, prompt]));
  setOptions(seeds, of.columns.map((label, i) => [i, label]));
  [rows.value, seeds.value] = [row, seed];
  const { leftRun, leftStep, rightRun, rightStep } = compareSides.elements;
  const own = [[report.run.id, 'this run']];
  for (const select of [leftRun, rightRun]) {
    setOptions(select, own);
    select.value = report.run.id;
  }
  showSteps('left');
  showSteps('right');
  [leftStep.value, rightStep.value] = [0, sheet];
  if (!compare.open) compare.showModal();
  drawCompare();
  const others = (await getJson(url('api/runs'))).filter((run) => run.kind === 'run' && run.sheet && run.id !== report.run.id);
  for (const select of [leftRun, rightRun]) setOptions(select, [...own, ...others.map((run) => [run.id, `${run.title} · ${run.id}`])]);
}

const sideRun = (side) => otherRuns.get(compareSides.elements[`${side}Run`].value);
const sideConcept = (side) => sideRun(side)?.samples.find((item) => item.concept === comparedConcept) ?? sideRun(side)?.samples[0];

function showSteps(side) {
  const select = compareSides.elements[`${side}Step`];
  const sheets = sideConcept(side)?.sheets ?? [];
  setOptions(select, sheets.map((sheet, i) => [i, String(sheet.step)]));
}

function drawCompare() {
  const [row, seed] = [Number(compareControls.elements.row.value), Number(compareControls.elements.column.value)];
  for (const side of ['left', 'right']) {
    const of = sideConcept(side);
    const sheet = of?.sheets[Number(compareSides.elements[`${side}Step`].value)];
    const image = find(`#compare-${side}`);
    image.alt = sheet ? `${of.rows[row] ?? ''}, step ${sheet.step}` : 'no sample';
    if (sheet) image.src = sampleUrl(sideRun(side).id, of, sheet, row, Math.min(seed, of.columns.length - 1), 1024);
    image.onload = () => image.classList.toggle('pixels', image.naturalWidth <= 160);
  }
  find('#compare-title').textContent = compareControls.elements.row.selectedOptions[0]?.textContent ?? '';
  find('#compare-stage').classList.toggle('side-by-side', compareControls.elements.view.value === 'side');
  moveBoundary();
}

function moveBoundary() {
  find('#compare-stage').style.setProperty('--boundary', `${boundary.value}%`);
}

boundary.addEventListener('input', moveBoundary);
for (const form of [compareControls, compareSides]) form.addEventListener('submit', (event) => event.preventDefault());
compareControls.addEventListener('input', drawCompare);
compareSides.addEventListener('input', async (event) => {
  const side = event.target.name.startsWith('left') ? 'left' : 'right';
  if (event.target.name.endsWith('Run')) {
    if (!otherRuns.has(event.target.value)) otherRuns.set(event.target.value, await getJson(url('api/run', event.target.value)));
    showSteps(side);
    const select = compareSides.elements[`${side}Step`];
    select.selectedIndex = select.options.length - 1;
  }
  drawCompare();
});
compare.addEventListener('keydown', (event) => {
  const { rightStep } = compareSides.elements;
  const by = { ',': -1, '.': 1 }[event.key];
  if (by) {
    rightStep.selectedIndex = Math.max(0, Math.min(rightStep.options.length - 1, rightStep.selectedIndex + by));
    drawCompare();
  }
});
