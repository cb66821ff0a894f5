// A small chart for each setting: its values on the x axis, the monitored metric on the y axis.
const effectsSection = find('#effects-charts');
if (effectsSection) effects();

function effects() {
  const completed = report.points.map((_, i) => i).filter((i) => report.points[i].value !== null && report.points[i].final);
  if (completed.length < 2) {
    effectsSection.append(make('p', { class: 'note' }, 'At least two completed points are needed for a comparison.'));
    return;
  }
  const values = completed.map((i) => report.points[i].value);
  const isLog = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 20;
  const spread = (axis) => {
    const [low, high] = extent(means(axis, completed).map(([, mean]) => mean));
    return high - low;
  };
  for (const axis of [...report.axes].sort((a, b) => spread(b) - spread(a))) {
    const chart = make('figure', { class: 'chart', 'data-height': 210 });
    const isSearched = means(axis, completed).length > Math.max(6, completed.length / 2);
    const caption = isSearched ? '' : `means ${formatNumber(spread(axis))} apart`;
    effectsSection.append(make('div', {}, make('h3', { title: axis.key }, axis.name, ' ', make('small', { class: 'muted' }, caption)), chart));
    const redraw = () => effectChart(chart, axis, completed, extent(values), isLog, isSearched);
    const tip = tooltip(chart);
    hoverMarks(chart, tip);
    markHighlighted(chart);
    whenResized(chart, redraw);
    themeChanged.push(redraw);
  }
}

function means(axis, completed) {
  const groups = new Map();
  for (const i of completed) {
    if (axis.at[i] === null) continue;
    groups.set(axis.at[i], [...(groups.get(axis.at[i]) ?? []), report.points[i].value]);
  }
  return [...groups].sort((a, b) => a[0] - b[0]).map(([at, group]) => [at, group.reduce((sum, value) => sum + value, 0) / group.length]);
}

function effectChart(chart, axis, completed, range, isLog, isSearched) {
  const [width, height] = [chart.clientWidth, Number(chart.dataset.height)];
  const [right, top, bottom] = [20, 12, 30];
  const pad = isLog ? 0 : (range[1] - range[0]) * 0.08;
  const y = (isLog ? logScale : linearScale)([range[0] - pad, range[1] + pad], [height - bottom, top]);
  const yTicks = y.ticks(4);
  const yLabels = tickLabels(yTicks);
  const left = leftMargin(yLabels);
  const x = axisScale(axis, [left + 24, width - right - 24], isSearched);
  const colors = byValue();
  find('svg', chart)?.remove();
  const label = `${report.monitor} by ${axis.name}: ${means(axis, completed).map(([at, mean]) => `${x.name(at)}: ${formatNumber(mean)}`).join(', ')}`;
  const svg = draw('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': isSearched ? `${report.monitor} by ${axis.name}` : label });
  const group = draw('g', { class: 'grid' });
  for (const [i, value] of yTicks.entries()) {
    group.append(draw('line', { x1: left, x2: width - right, y1: y.at(value), y2: y.at(value) }), draw('text', { x: left - 8, y: y.at(value) + 4, 'text-anchor': 'end' }, yLabels[i]));
  }
  for (const [i, tick] of x.ticks.entries()) group.append(draw('text', { x: x.at(tick), y: height - 8, 'text-anchor': 'middle' }, x.labels[i]));
  svg.append(group);
  if (!isSearched) {
    for (const [at, mean] of means(axis, completed)) {
      svg.append(draw('line', { class: 'mean', x1: x.at(at) - 16, x2: x.at(at) + 16, y1: y.at(mean), y2: y.at(mean) }));
    }
  }
  for (const i of completed) {
    const point = report.points[i];
    if (axis.at[i] === null) continue;
    svg.append(draw('circle', { cx: x.at(axis.at[i]), cy: y.at(point.value), r: 5, fill: colors.of(i), 'data-of': point.number }));
  }
  chart.prepend(svg);
}

// A few values are evenly spaced; many have a continuous axis.
function axisScale(axis, range, isContinuous) {
  const values = [...new Set(axis.at.filter((value) => value !== null))].sort((a, b) => a - b);
  const name = (value) => {
    const text = axis.words ? axis.words[value] : formatNumber(value);
    return text.length > 14 ? `${text.slice(0, 13)}…` : text;
  };
  if (axis.words || !isContinuous) {
    const inner = linearScale([0, Math.max(1, values.length - 1)], range);
    const every = Math.ceil(values.length / Math.max(2, Math.floor(Math.abs(range[1] - range[0]) / 60) + 1));
    const ticks = values.filter((_, i) => i % every === 0);
    return { at: (value) => inner.at(values.length > 1 ? values.indexOf(value) : 0.5), ticks, labels: axis.words ? ticks.map(name) : tickLabels(ticks), name };
  }
  const inner = (axis.is_log ? logScale : linearScale)(extent(values), range);
  const ticks = inner.ticks(4);
  return { at: inner.at, ticks, labels: tickLabels(ticks), name };
}

function hoverMarks(chart, tip) {
  chart.addEventListener('pointermove', (event) => {
    const mark = event.target.closest('[data-of]');
    if (!mark) {
      tip.hide();
      highlight(null);
      return;
    }
    const point = report.points.find((other) => String(other.number) === mark.dataset.of);
    const box = chart.getBoundingClientRect();
    highlight(point.number);
    tip.show(event.clientX - box.left, event.clientY - box.top, [`point ${point.number}`, `${report.monitor ?? 'value'}: ${formatNumber(point.value) || 'none'}`, point.label]);
  });
  chart.addEventListener('pointerleave', () => {
    tip.hide();
    highlight(null);
  });
}
