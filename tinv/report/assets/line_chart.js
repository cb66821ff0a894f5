// Curves over steps, or over another axis. A series has key, name, x, y, color.
const MARGIN = { right: 30, top: 12, bottom: 38 };
const STEPS = { name: 'step', describe: (step) => `step ${step}` };

function smoothed(values, weight) {
  if (!weight) return values;
  let mean = 0;
  return values.map((value, i) => {
    mean = weight * mean + (1 - weight) * value;
    return mean / (1 - weight ** (i + 1)); // bias correction
  });
}

function lineChart(chart, { title, onHover = () => {} }) {
  const tip = tooltip(chart);
  let drawn = [];
  let scales = null;

  function paint(series, { log = false, smoothing = 0, axis = STEPS } = {}) {
    const width = chart.clientWidth;
    const height = Number(chart.dataset.height);
    drawn = series.map((curve) => ({ ...curve, raw: curve.y, y: smoothed(curve.y, smoothing) }));
    for (const curve of drawn) curve.indices = curve.x.map((_, i) => i).filter((i) => !log || curve.y[i] > 0);
    const ys = drawn.flatMap((curve) => curve.indices.flatMap((i) => (showsRaw(smoothing) && (curve.raw[i] > 0 || !log) ? [curve.y[i], curve.raw[i]] : [curve.y[i]])));
    const xs = drawn.flatMap((curve) => curve.indices.map((i) => curve.x[i]));
    find('svg', chart)?.remove();
    find('.nothing', chart)?.remove();
    if (!ys.length) {
      chart.prepend(make('p', { class: 'note nothing' }, log ? 'No values above zero.' : 'No values.'));
      return;
    }
    scales = { ...scalesFor(xs, ys, width, height, log), axis };
    const name = `${title()}: ${drawn.length} ${drawn.length === 1 ? 'curve' : 'curves'}, ${axis.name} ${extent(xs).map(formatNumber).join(' to ')}, from ${extent(ys).map(formatNumber).join(' to ')}`;
    const svg = draw('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': name });
    svg.append(grid(scales, width, height), ...drawn.flatMap((curve) => curveMarks(curve, smoothing)));
    if (drawn.length <= 12) svg.append(...endLabels(height));
    chart.prepend(svg);
  }

  const showsRaw = (smoothing) => smoothing > 0 && drawn.length <= 3;

  function curveMarks(curve, smoothing) {
    const marks = [];
    if (showsRaw(smoothing)) marks.push(draw('path', { d: pathOf(curve, curve.raw), class: 'curve raw', stroke: curve.color }));
    marks.push(draw('path', { d: pathOf(curve, curve.y), class: 'curve', stroke: curve.color, 'data-of': curve.key }));
    return marks;
  }

  const pathOf = (curve, ys) => curve.indices.filter((i) => !(ys[i] <= 0 && scales.isLog))
    .map((i, n) => `${n ? 'L' : 'M'}${scales.x.at(curve.x[i]).toFixed(1)},${scales.y.at(ys[i]).toFixed(1)}`).join('');

  function endLabels(height) {
    const ends = drawn.filter((curve) => curve.indices.length).map((curve) => {
      const last = curve.indices[curve.indices.length - 1];
      return { curve, x: scales.x.at(curve.x[last]) + 6, y: scales.y.at(curve.y[last]) };
    }).sort((a, b) => a.y - b.y);
    for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 12);
    const over = ends.length ? ends[ends.length - 1].y - (height - MARGIN.bottom) : 0;
    if (over > 0) for (const end of ends) end.y -= over;
    return ends.map(({ curve, x, y }) => draw('text', { x, y: y + 4, class: 'end', 'data-of': curve.key }, curve.short ?? ''));
  }

  function hover(event) {
    if (!scales || !drawn.length) return;
    const box = chart.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let nearest = null;
    for (const curve of drawn) {
      const i = closest(curve.indices, (index) => Math.abs(scales.x.at(curve.x[index]) - x));
      if (i === null) continue;
      const away = Math.hypot((scales.x.at(curve.x[i]) - x) * 0.3, scales.y.at(curve.y[i]) - y);
      if (!nearest || away < nearest.away) nearest = { away, curve, i };
    }
    if (!nearest || nearest.away > 60) return leave();
    const { curve, i } = nearest;
    onHover(curve.key);
    tip.show(scales.x.at(curve.x[i]), scales.y.at(curve.y[i]), [curve.name, `${scales.axis.describe(curve.x[i])}: ${formatNumber(curve.raw[i])}`, ...(curve.detail ? [curve.detail] : [])]);
  }

  function leave() {
    tip.hide();
    onHover(null);
  }

  chart.addEventListener('pointermove', hover);
  chart.addEventListener('pointerdown', hover);
  chart.addEventListener('pointerleave', leave);
  markHighlighted(chart);
  return paint;
}

function scalesFor(xs, ys, width, height, isLog) {
  const [low, high] = extent(ys);
  const pad = isLog ? 0 : (high - low) * 0.05;
  const make = isLog ? logScale : linearScale;
  const y = make([low - pad, high + pad], [height - MARGIN.bottom, MARGIN.top]);
  const left = leftMargin(tickLabels(y.ticks(5)));
  return { isLog, left, x: linearScale(extent(xs), [left, width - MARGIN.right]), y };
}

function grid(scales, width, height) {
  const group = draw('g', { class: 'grid' });
  const [xTicks, yTicks] = [scales.x.ticks(Math.max(2, width / 140)), scales.y.ticks(5)];
  const [xLabels, yLabels] = [tickLabels(xTicks), tickLabels(yTicks)];
  for (const [i, value] of yTicks.entries()) {
    const y = scales.y.at(value);
    group.append(draw('line', { x1: scales.left, x2: width - MARGIN.right, y1: y, y2: y }), draw('text', { x: scales.left - 8, y: y + 4, 'text-anchor': 'end' }, yLabels[i]));
  }
  for (const [i, value] of xTicks.entries()) {
    group.append(draw('text', { x: scales.x.at(value), y: height - MARGIN.bottom + 20, 'text-anchor': 'middle' }, xLabels[i]));
  }
  group.append(draw('text', { x: width - MARGIN.right, y: height - 2, 'text-anchor': 'end', class: 'axis' }, scales.axis.name));
  return group;
}

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function closest(items, distance) {
  let nearest = null;
  let least = Infinity;
  for (const item of items) {
    const away = distance(item);
    if (away < least) [nearest, least] = [item, away];
  }
  return nearest;
}
