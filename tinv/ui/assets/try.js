// Draws with learned words; each image appears when it is drawn.
const tryForm = find('#try-form');
const wordList = find('#words');
let drawing = null;

function showWords() {
  const wanted = new URLSearchParams(location.search).get('word');
  find('#no-words').hidden = report.words.length > 0;
  find('#draw').disabled = !report.words.length;
  wordList.append(...report.words.map((word, i) => {
    const isChosen = wanted ? word.id === wanted : i === 0;
    const check = make('input', { type: 'checkbox', value: i, ...(isChosen ? { checked: '' } : {}) });
    const strength = make('input', { type: 'range', min: 0, max: 2, step: 0.05, value: 1, 'aria-label': `Strength of ${word.title}` });
    const output = make('output', {}, '1.00');
    strength.addEventListener('input', () => { output.value = Number(strength.value).toFixed(2); });
    const query = new URLSearchParams({ sheet: word.sheet ?? '', index: 0, side: 96, version: word.sheet_version });
    const image = word.sheet ? [make('img', { src: `${url('sample', word.id)}?${query}`, alt: '' })] : [];
    return make('li', { class: 'word-card' },
      make('label', { class: 'word-choice' }, check, ...image, make('span', {}, make('strong', {}, word.title), make('small', {}, `${word.id} · ${word.model}`))),
      make('label', { class: 'word-strength' }, make('span', { class: 'muted' }, 'strength'), strength, output));
  }));
}

function chosenWords() {
  return findAll('.word-card', wordList).flatMap((card) => {
    const check = find('[type=checkbox]', card);
    return check.checked ? [{ id: report.words[Number(check.value)].id, title: report.words[Number(check.value)].title, strength: Number(find('[type=range]', card).value) }] : [];
  });
}

async function drawAll() {
  const { prompts, seeds, negative_prompt: negative, num_inference_steps: steps, guidance_scale: guidance, mode } = tryForm.elements;
  const words = chosenWords();
  if (!words.length) throw new Error('Choose a word.');
  const body = {
    prompts: prompts.value.split('\n').map((line) => line.trim()).filter(Boolean),
    seeds: parseSeeds(seeds.value),
    negative_prompt: negative.value || null,
    num_inference_steps: optionalNumber(steps.value),
    guidance_scale: optionalNumber(guidance.value),
  };
  const groups = mode.value === 'compare' ? words.map((word) => [word]) : [words];
  const places = groups.map((group) => addResult(group, body));
  find('#results').prepend(...places.map((place) => place.element));
  for (const [i, group] of groups.entries()) {
    const answer = await fetch(url('api/draw'), { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...body, words: group }), signal: drawing.signal });
    if (!answer.ok) await readAnswer(answer);
    for await (const part of readLines(answer.body)) showPart(places[i], part);
  }
}

function addResult(words, { prompts, seeds }) {
  const rows = prompts.map((prompt) => {
    const cells = seeds.map((seed) => make('div', { class: 'image-frame waiting', title: `seed ${seed}` }));
    return { label: make('p', { class: 'prompt' }, prompt), cells };
  });
  const title = words.map((word) => `${word.title}${word.strength === 1 ? '' : ` × ${word.strength}`}`).join(', ');
  const element = make('article', { class: 'result' }, make('h3', {}, title), ...rows.map((row) => make('div', { class: 'result-row' }, row.label, make('div', { class: 'result-images' }, ...row.cells))));
  return { element, rows, count: 0 };
}

function showPart(place, part) {
  if (part.state === 'error') throw new Error(part.error);
  if (part.state === 'loading') find('#draw-state').textContent = `Loading ${part.model} …`;
  if (part.state !== 'image') return;
  place.count += 1;
  find('#draw-state').textContent = `${place.count} of ${place.rows.length * place.rows[0].cells.length} images`;
  const row = place.rows[part.row];
  row.label.textContent = part.prompt;
  const image = make('img', { src: part.url, alt: `${part.prompt}, seed ${part.seed}` });
  image.onload = () => image.classList.toggle('pixels', image.naturalWidth <= 160);
  row.cells[part.column].classList.remove('waiting');
  row.cells[part.column].replaceChildren(make('a', { href: part.url, download: `${part.prompt.replace(/[^\w]+/g, '-')}-${part.seed}.png`, 'aria-label': `Save ${part.prompt}, seed ${part.seed}` }, image));
}

async function* readLines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

tryForm.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (drawing) return;
  drawing = new AbortController();
  find('#cancel').disabled = false;
  find('#draw').disabled = true;
  find('#draw-state').textContent = 'Starting …';
  try {
    await drawAll();
    find('#draw-state').textContent = 'Done.';
  } catch (error) {
    find('#draw-state').textContent = error.name === 'AbortError' ? 'Stopped.' : '';
    if (error.name !== 'AbortError') say(error.message, true);
    for (const cell of findAll('.waiting')) cell.classList.remove('waiting');
  }
  drawing = null;
  find('#cancel').disabled = true;
  find('#draw').disabled = false;
});
find('#cancel').addEventListener('click', () => drawing?.abort());
find('#free').addEventListener('click', (event) => during(event.target, async () => {
  await post(url('api/free'), {});
  say('The model is unloaded.');
}));
showWords();
