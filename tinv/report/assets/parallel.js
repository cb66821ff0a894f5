// Parallel coordinates: an axis for each setting and for the monitored metric, a line for each point.
const parallelPlace = find('#parallel-chart');
if (parallelPlace) parallel();

function parallel() {
  const redraw = () => parallelChart(parallelPlace);
  hoverMarks(parallelPlace, tooltip(parallelPlace));
  markHighlighted(parallelPlace);
  whenResized(parallelPlace, redraw);
  themeChanged.push(redraw);
}

function parallelChart(chart) {
  const [width, height] = [chart.clientWidth, Number(chart.dataset.height)];
  const range = [height - 22, 46];
  const known = report.points.map((_, i) => i).filter((i) => report.points[i].value !== null);
  const many = (axis) => new Set(axis.at).size > 8;
  const columns = report.axes.map((axis) => ({ name: axis.name, at: axis.at, scale: axisScale(axis, range, many(axis)) }));
  if (known.length) {
    const values = report.points.map((point) => point.value);
    const inner = linearScale(extent(known.map((i) => values[i])), range);
    const ticks = inner.ticks(5);
    columns.push({ name: report.monitor ?? 'value', at: values, scale: { at: inner.at, ticks, labels: tickLabels(ticks) } });
  }
  const x = linearScale([0, Math.max(1, columns.length - 1)], [60, width - 80]);
  const colors = byValue();
  find('svg', chart)?.remove();
  const label = `A line for each of ${report.points.length} points over ${columns.map((column) => column.name).join(', ')}`;
  const svg = draw('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label });
  const lines = draw('g');
  report.points.forEach((point, i) => {
    const places = columns.map((column, n) => [x.at(n), column.at[i] === null ? null : column.scale.at(column.at[i])]).filter(([, y]) => y !== null);
    const d = places.map(([px, py], n) => (n ? bend(places[n - 1], [px, py]) : `M${px.toFixed(1)},${py.toFixed(1)}`)).join('');
    lines.append(draw('path', { d, class: 'curve', stroke: colors.of(i), 'data-of': point.number }), draw('path', { d, class: 'catch', 'data-of': point.number }));
  });
  svg.append(lines);
  columns.forEach((column, n) => {
    const group = draw('g', { class: 'grid axis-line' });
    group.append(draw('line', { x1: x.at(n), x2: x.at(n), y1: range[0], y2: range[1] }), draw('text', { x: x.at(n), y: 20, 'text-anchor': 'middle', class: 'axis' }, column.name));
    for (const [i, tick] of column.scale.ticks.entries()) {
      group.append(draw('circle', { cx: x.at(n), cy: column.scale.at(tick), r: 2.5 }), draw('text', { x: x.at(n) + 8, y: column.scale.at(tick) + 4, class: 'halo' }, column.scale.labels[i]));
    }
    svg.append(group);
  });
  chart.prepend(svg);
}

function bend([x0, y0], [x1, y1]) {
  const middle = ((x0 + x1) / 2).toFixed(1);
  return `C${middle},${y0.toFixed(1)} ${middle},${y1.toFixed(1)} ${x1.toFixed(1)},${y1.toFixed(1)}`;
}
