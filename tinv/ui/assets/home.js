// All runs, as cards. Running ones come first.
const cards = new Map();
const filters = find('#filters');
let runs = report.runs;

function showRuns() {
  const words = filters.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const status = filters.elements.status.value;
  const isRunning = (run) => run.status === 'running' && !run.is_silent;
  const matching = runs.filter((run) => (!status || run.status === status)
    && words.every((word) => `${run.title} ${run.id} ${run.model ?? ''} ${run.status}`.toLowerCase().includes(word)));
  matching.sort((a, b) => isRunning(b) - isRunning(a));
  const items = matching.map(cardOf);
  const list = find('#runs');
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) list.replaceChildren(...items);
  find('#count').textContent = `${runs.length} ${runs.length === 1 ? 'run' : 'runs'}${matching.length < runs.length ? `, ${matching.length} of them here` : ''}`;
  const empty = find('#empty');
  empty.hidden = matching.length > 0;
  empty.textContent = runs.length ? 'No run matches the filter.' : 'There are no runs yet. Start one here or in a shell: it appears by itself.';
}

function cardOf(run) {
  const known = cards.get(run.id);
  const signature = JSON.stringify(run);
  if (known?.signature === signature) return known.item;
  const item = known?.item ?? make('li', {});
  item.replaceChildren(makeCard(run));
  cards.set(run.id, { item, signature });
  return item;
}

function makeCard(run) {
  const picture = make('div', { class: 'picture' });
  if (run.sheet) {
    const query = new URLSearchParams({ sheet: run.sheet, index: 0, side: 256, version: run.sheet_version });
    picture.append(make('img', { src: `${url('sample', run.id)}?${query}`, alt: '', loading: 'lazy', decoding: 'async' }));
  } else {
    picture.append(make('span', { class: 'no-picture', 'aria-hidden': 'true' }, run.kind === 'sweep' ? '▦' : '⋯'));
  }
  const counts = Object.entries(run.counts ?? {}).map(([status, count]) => `${count} ${status}`).join(', ');
  const facts = run.kind === 'sweep'
    ? [`sweep of ${run.max_steps} points`, counts]
    : [run.model, run.loss === null ? '' : `loss ${formatNumber(run.loss)}`, run.status === 'running' && run.seconds_left ? `${formatDuration(run.seconds_left)} left` : ''];
  return make('a', { class: 'run-card', href: url(run.kind, run.id) },
    picture,
    make('div', { class: 'run-card-text' },
      make('div', { class: 'run-card-title' }, make('strong', {}, run.title), chip(run.status, run.is_silent)),
      make('p', { class: 'muted' }, `${run.name} · ${run.time.replace('_', ' ')}`),
      progressBar(run),
      make('p', { class: 'muted' }, facts.filter(Boolean).join(' · '))));
}

filters.addEventListener('input', showRuns);
filters.addEventListener('submit', (event) => event.preventDefault());
showRuns();
whenChanged(url('changes'), async () => {
  runs = await getJson(url('api/runs'));
  showRuns();
});
