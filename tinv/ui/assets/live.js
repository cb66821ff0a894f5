// Requests to the server, and its news about changed files.
const url = (kind, id = '') => [report.base, kind, ...id.split('/').filter(Boolean).map(encodeURIComponent)].join('/');

async function getJson(address) {
  return readAnswer(await fetch(address));
}

async function post(address, body) {
  return readAnswer(await fetch(address, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }));
}

async function readAnswer(response) {
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error ?? `The server answered ${response.status}.`);
  return answer;
}

// Calls refresh after each change, never twice at a time, and after a lost connection is back.
function whenChanged(address, refresh) {
  let isBusy = false;
  let isDue = false;
  const run = async () => {
    if (isBusy) {
      isDue = true;
      return;
    }
    isBusy = true;
    try {
      await refresh();
    } catch (error) {
      say(error.message, true);
    }
    isBusy = false;
    if (isDue) {
      isDue = false;
      run();
    }
  };
  const news = new EventSource(address);
  const connection = find('#connection');
  news.addEventListener('change', run);
  news.addEventListener('error', () => { connection.hidden = false; });
  news.addEventListener('open', () => {
    if (!connection.hidden) run();
    connection.hidden = true;
  });
}

// A message that goes away by itself, unless it is an error.
function say(text, isError = false) {
  const close = make('button', { type: 'button', 'aria-label': 'Dismiss' }, '✕');
  const message = make('div', { class: `message${isError ? ' is-error' : ''}` }, make('span', {}, text), close);
  close.addEventListener('click', () => message.remove());
  find('#messages').append(message);
  if (!isError) setTimeout(() => message.remove(), 7000);
}

// Runs an action of a button, which cannot be pressed again meanwhile; errors become messages.
async function during(button, action) {
  button.setAttribute('aria-busy', 'true');
  button.disabled = true;
  try {
    return await action();
  } catch (error) {
    say(error.message, true);
    return null;
  } finally {
    button.removeAttribute('aria-busy');
    button.disabled = false;
  }
}

function chip(status, isSilent = false) {
  const title = isSilent ? 'It has written nothing for ten minutes and has probably died.' : null;
  return make('span', { class: `chip ${isSilent ? 'killed' : status}`, title }, isSilent ? 'no sign of life' : status);
}

function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return '';
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}

// Replaces children unless nothing changed, so that a focused or selected part stays as it is.
function replace(element, signature, makeChildren) {
  const text = JSON.stringify(signature);
  if (element.dataset.signature === text) return;
  element.dataset.signature = text;
  element.replaceChildren(...makeChildren());
}

function progressBar(run) {
  const share = run.max_steps ? Math.min(1, (run.step ?? 0) / run.max_steps) : 0;
  const unit = run.kind === 'sweep' ? 'points' : 'steps';
  const bar = make('div', { class: `progress ${run.status}`, role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': run.max_steps ?? 0, 'aria-valuenow': run.step ?? 0, 'aria-label': `${run.step ?? 0} of ${run.max_steps ?? '?'} ${unit}` });
  const fill = make('i', {});
  fill.style.width = `${share * 100}%`;
  bar.append(fill);
  return bar;
}

function commandBox(text, label) {
  const button = make('button', { type: 'button', hidden: '' }, 'Copy');
  const box = make('div', { class: 'command' }, make('pre', { role: 'group', tabindex: 0, 'aria-label': label }, make('code', {}, text)), button);
  enableCopy(button);
  return box;
}

// `0-3` -> [0, 1, 2, 3]; `1,5,7` -> [1, 5, 7].
function parseSeeds(text) {
  return text.split(',').map((part) => part.trim()).filter(Boolean).flatMap((part) => {
    const match = part.match(/^(\d+)(?:\s*-\s*(\d+))?$/);
    const [first, last] = match ? [Number(match[1]), Number(match[2] ?? match[1])] : [0, -1];
    if (!match || last < first || last - first > 1000) throw new Error(`${part}: write seeds as 0-3 or 1,5,7.`);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

const optionalNumber = (text) => (text === '' ? null : Number(text));

function download(name, blob) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
