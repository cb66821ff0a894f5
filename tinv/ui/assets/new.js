// A new run: every change renews the command at once, and the checks and crops after a pause.
const form = find('#settings-form');
const CHECK_PAUSE_MS = 500;
let checkTimer = null;
let checkNumber = 0;
let previewedFor = '';

const request = () => ({ form: Object.fromEntries(new FormData(form)), set: imageSet, images: chosenImages() });

async function renew() {
  const number = ++checkNumber;
  clearTimeout(checkTimer);
  try {
    const { command } = await post(url('api/command'), request());
    if (number === checkNumber) replace(find('#command'), command, () => [commandBox(command, 'The exact command')]);
  } catch (error) {
    showProblems({ problems: [error.message], warnings: [] });
    return;
  }
  checkTimer = setTimeout(() => checkAndPreview(number), CHECK_PAUSE_MS);
}

async function checkAndPreview(number) {
  const asked = request();
  if (!asked.images.length && !asked.form.experiment) {
    showProblems({ problems: [], warnings: [] });
    find('#check-state').textContent = 'Add images to begin.';
    return;
  }
  find('#check-state').textContent = 'Checking …';
  try {
    const checked = await post(url('api/check'), asked);
    if (number !== checkNumber) return;
    showProblems(checked);
    find('#check-state').textContent = checked.problems.length ? '' : 'Ready.';
    const signature = JSON.stringify([asked.images, asked.form.experiment, asked.form.model, asked.form.further, asked.form.placeholder_token]);
    if (asked.images.length && signature !== previewedFor && !checked.problems.some((text) => text.startsWith('data.'))) {
      const crops = await post(url('api/preview'), asked).catch(() => null);
      if (number !== checkNumber || !crops) return;
      previewedFor = signature;
      showCrops(asked.images, crops);
    }
  } catch (error) {
    if (number === checkNumber) showProblems({ problems: [error.message], warnings: [] });
  }
}

// Problems of a field stand below it, all others above the command.
function showProblems({ problems, warnings }) {
  const fields = findAll('.problem', form);
  const others = problems.filter((text) => !fields.some((field) => text.startsWith(field.dataset.setting)));
  for (const field of fields) {
    const own = problems.filter((text) => text.startsWith(field.dataset.setting));
    field.textContent = own.map((text) => text.replace(/^[^:]*: /, '')).join(' ');
    find('input', field.parentNode)?.setAttribute('aria-invalid', String(own.length > 0));
  }
  replace(find('#problems'), [others, warnings], () => [
    ...others.map((text) => make('p', { class: 'problem-line' }, text)),
    ...warnings.map((text) => make('p', { class: 'warning-line' }, text)),
  ]);
  find('#start').disabled = problems.length > 0;
}

function showComments() {
  for (const group of ['experiment', 'model', 'recipe', 'memory']) {
    find(`#${group}-comment`).textContent = report.options[group][form.elements[group].value] ?? '';
  }
}

form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('input', () => {
  showComments();
  renew();
});
imagesChanged = renew;
find('#start').addEventListener('click', (event) => during(event.target, async () => {
  const { run } = await post(url('api/start'), request());
  location.assign(url('run', run));
}));
find('#propose').addEventListener('click', (event) => during(event.target, async () => {
  const ranking = await post(url('api/words'), request());
  find('#proposals').replaceChildren(...ranking.map(({ word }) => make('option', { value: word })));
  const line = find('#proposals-line');
  line.hidden = false;
  line.replaceChildren(...ranking.map(({ word, similarity }) => {
    const button = make('button', { type: 'button', class: 'word' }, word, ' ', make('small', {}, similarity.toFixed(3)));
    button.addEventListener('click', () => {
      form.elements.initializer_token.value = word;
      renew();
    });
    return button;
  }));
}));
showComments();
renew();
