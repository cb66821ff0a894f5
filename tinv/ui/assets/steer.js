// Requests to the run. Its answers come with its state, because it reads requests between two steps.
const ANSWERING = ['pending', 'accepted'];
const tell = (body) => post(url('api/tell', report.run.id), body);
const formatChoice = find('#export-format');
formatChoice.append(...report.formats.map((format) => make('option', { value: format }, format)));
let isLive = false;

function showActions(run) {
  isLive = ['running', 'requeued', 'queued'].includes(run.status) && !run.is_silent;
  find('#live-actions').hidden = !isLive;
  const hasEmbedding = run.files.length > 0;
  find('#export').disabled = !isLive && !hasEmbedding;
  const tryIt = find('#try-it');
  tryIt.hidden = !hasEmbedding;
  tryIt.href = `${url('try')}?${new URLSearchParams({ word: run.id })}`;
  replace(find('#answers'), run.answers, () => run.answers.toReversed().map((answer) => make('li', { class: answer.state },
    make('code', {}, answer.request), make('span', { class: `chip ${{ done: 'done', refused: 'failed' }[answer.state] ?? 'running'}` }, answer.state),
    make('span', { class: 'muted' }, answer.message || (ANSWERING.includes(answer.state) ? 'The run reads requests every two seconds, between two steps.' : '')))));
}

function showRequested(run) {
  find('#requested').hidden = !run.requested.length;
  replace(find('#requested-sheets'), run.requested, () => run.requested.toReversed().map((sheet) => make('div', {},
    make('h3', {}, `Step ${sheet.step}`),
    make('div', { class: 'stage-row' }, ...sheet.rows.flatMap((prompt, row) => sheet.columns.map((seed, i) => {
      const image = make('img', { src: sampleUrl(run.id, sheet, sheet, row, i, 1024), alt: `${prompt}, ${seed}`, loading: 'lazy' });
      return make('figure', { class: 'stage-item' }, make('div', { class: 'image-frame' }, image), make('figcaption', {}, `${prompt}, ${seed}`));
    }))))));
}

// Opens a dialog, and calls send with its form if it was confirmed.
function askFirst(opener, name, send) {
  const dialog = find(`#${name}-dialog`);
  const form = find(`#${name}-form`);
  opener.addEventListener('click', () => {
    dialog.returnValue = '';
    dialog.showModal();
  });
  dialog.addEventListener('close', () => {
    if (dialog.returnValue === 'send') during(opener, () => send(form.elements));
  });
}

for (const button of findAll('[data-tell]')) button.addEventListener('click', () => during(button, () => tell({ action: button.dataset.tell })));
askFirst(find('#sample-now'), 'sample', (fields) => tell({
  action: 'sample',
  prompts: fields.prompts.value.split('\n').map((line) => line.trim()).filter(Boolean),
  seeds: parseSeeds(fields.seeds.value),
  negative_prompt: fields.negative_prompt.value || null,
  num_inference_steps: optionalNumber(fields.num_inference_steps.value),
  guidance_scale: optionalNumber(fields.guidance_scale.value),
}));
askFirst(find('#extend'), 'extend', (fields) => tell({ action: 'extend', steps: Number(fields.steps.value) }));
askFirst(find('#discard'), 'discard', () => tell({ action: 'stop', discard: true }));
find('#export').addEventListener('click', (event) => during(event.target, async () => {
  const format = formatChoice.value;
  if (isLive) {
    await tell({ action: 'export', format });
    say('The file appears below, under Files.');
    return;
  }
  for (const { name, content } of await post(url('api/convert', report.run.id), { format })) {
    download(name, new Blob([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))]));
  }
}));
