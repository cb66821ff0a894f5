// The page of a run.
function showRun(run) {
  otherRuns.set(run.id, run);
  document.title = `${run.status === 'running' && run.max_steps ? `${Math.floor((100 * (run.step ?? 0)) / run.max_steps)} % · ` : ''}${run.title} · tinv`;
  find('#title').textContent = run.title;
  replace(find('#status'), [run.status, run.is_silent], () => [chip(run.status, run.is_silent)]);
  const notes = [run.reason, ...run.problems].filter(Boolean);
  replace(find('#reason'), [notes, run.status], () => notes.map((text) => make('article', { class: run.status === 'failed' ? 'failure' : 'note' }, make('pre', {}, text))));
  showProgress(run);
  showCards(run);
  showActions(run);
  showSamples(run);
  showRequested(run);
  showNearest(run);
  showFiles(run);
  replace(find('#facts'), run.facts, () => Object.entries(run.facts).map(([name, value]) => make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, value))));
  replace(find('#command'), run.command, () => (run.command ? [commandBox(run.command, 'The command of the run')] : []));
  const log = find('#log-text');
  const wasAtEnd = log.scrollHeight - log.clientHeight - log.scrollTop < 24;
  if (log.textContent !== run.log) log.textContent = run.log || 'Runs that were started in a shell print there.';
  if (wasAtEnd) log.scrollTop = log.scrollHeight;
}

function showProgress(run) {
  const isRunning = run.status === 'running' && !run.is_silent;
  const words = [
    run.max_steps ? `step ${run.step ?? 0} of ${run.max_steps}` : '',
    isRunning && run.steps_per_s ? (run.steps_per_s >= 1 ? `${formatNumber(run.steps_per_s)} steps/s` : `${formatNumber(1 / run.steps_per_s)} s/step`) : '',
    isRunning && run.seconds_left ? `${formatDuration(run.seconds_left)} left` : '',
  ].filter(Boolean).join(' · ');
  replace(find('#progress-line'), [run.step, run.max_steps, words, run.status], () => [progressBar(run), make('p', { class: 'muted' }, words)]);
}

function showCards(run) {
  const last = (name) => run.last_values[name] ?? null;
  const cards = [
    ['train/loss', formatNumber(last('train/loss'))],
    ['val/loss', formatNumber(last('val/loss'))],
    ['learning rate', formatNumber(last('train/lr'))],
    ['embedding norm', formatNumber(last('embedding/norm')), last('embedding/norm_percentile') === null ? '' : `percentile ${Math.round(last('embedding/norm_percentile'))}`],
    ['time', formatDuration(run.timeline.at(-1)?.[1] || run.seconds || null), run.restarts ? `${run.restarts} restarts` : ''],
    ['memory', run.memory_gb.process ? `${formatNumber(run.memory_gb.process)} GB` : '', run.memory_gb.gpu ? `GPU ${formatNumber(run.memory_gb.gpu)} GB` : ''],
    ...Object.entries(run.scores).map(([name, value]) => [name, formatNumber(value)]),
  ].filter(([, value]) => value);
  replace(find('#cards'), cards, () => cards.map(([name, value, detail]) => make('div', { class: 'card' }, make('dt', {}, name), make('dd', {}, value, ...(detail ? [' ', make('small', {}, detail)] : [])))));
}

function showNearest(run) {
  const stats = run.embedding_stats.filter((item) => Object.keys(item.nearest).length);
  find('#embedding').hidden = !stats.length;
  replace(find('#nearest'), stats, () => stats.map((item) => make('div', {}, ...(item.concept ? [make('h3', {}, item.concept)] : []),
    make('table', { class: 'plain-table' }, make('tbody', {}, ...Object.entries(item.nearest).map(([vector, words]) => make('tr', {},
      make('th', { scope: 'row' }, make('code', {}, vector)), make('td', { class: 'words' }, ...words.map((word) => make('span', {}, word))))))))));
}

function showFiles(run) {
  replace(find('#file-list'), run.files, () => (run.files.length
    ? run.files.map((file) => make('li', {}, make('a', { href: `${url('file', run.id)}?${new URLSearchParams({ name: file.name })}`, download: '' }, file.name), make('span', { class: 'muted' }, ` ${formatNumber(file.bytes / 1000)} kB`)))
    : [make('li', { class: 'muted' }, 'The embedding is written at the end of the run.')]));
  replace(find('#generate'), run.generate, () => (run.generate ? [commandBox(run.generate, 'Command that draws images')] : []));
}

find('#changed').addEventListener('toggle', async (event) => {
  if (!event.target.open) return;
  const rows = await getJson(url('api/settings', report.run.id));
  replace(find('#changed-settings'), rows, () => [make('table', { class: 'plain-table' },
    make('thead', {}, make('tr', {}, ...['setting', 'this run', 'default'].map((text) => make('th', { scope: 'col' }, text)))),
    make('tbody', {}, ...rows.map((row) => make('tr', {}, make('th', { scope: 'row' }, make('code', {}, row.key)), make('td', {}, row.value), make('td', { class: 'muted' }, row.default)))))]);
});

let lastStep = report.run.last_step;
showRun(report.run);
addCurves(report.run);
whenChanged(url('changes/run', report.run.id), async () => {
  const run = await getJson(`${url('api/run', report.run.id)}${lastStep === null ? '' : `?after=${lastStep}`}`);
  lastStep = run.last_step;
  showRun(run);
  addCurves(run);
});
