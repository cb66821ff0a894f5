// The curves of a run, which grow while it trains; over steps, or over the time of training.
const liveControls = find('#curve-controls');
const liveCharts = new Map();
const chartCurves = new Map();
let timeline = [];

// Adds the points from first_step on, where null means that all points are new.
function addCurves({ charts, first_step: first, timeline: times }) {
  timeline = times;
  for (const [title, curves] of Object.entries(charts)) {
    const known = chartCurves.get(title) ?? new Map();
    chartCurves.set(title, known);
    for (const curve of curves) {
      const earlier = first === null ? { x: [], y: [] } : known.get(curve.key) ?? { x: [], y: [] };
      const end = first === null ? 0 : earlier.x.findIndex((step) => step >= first);
      const keep = end < 0 ? earlier.x.length : end;
      known.set(curve.key, { key: curve.key, x: [...earlier.x.slice(0, keep), ...curve.x], y: [...earlier.y.slice(0, keep), ...curve.y] });
    }
  }
  drawCurves();
}

function drawCurves() {
  find('#no-curves').hidden = chartCurves.size > 0;
  liveControls.hidden = !chartCurves.size;
  liveControls.elements.axis.options[1].disabled = timeline.length < 2;
  for (const title of chartCurves.keys()) {
    if (!liveCharts.has(title)) liveCharts.set(title, addChart(title));
    liveCharts.get(title)();
  }
}

function addChart(title) {
  const chart = make('figure', { class: 'chart', 'data-height': 220 });
  const legend = make('div', { class: 'legend' });
  find('#charts').append(make('div', {}, make('h3', {}, title), chart, legend));
  const paint = lineChart(chart, { title: () => title });
  const redraw = () => {
    const smoothing = title === 'Loss' ? Number(liveControls.elements.smoothing.value) : 0;
    liveControls.elements['smoothing-shown'].value = Number(liveControls.elements.smoothing.value) ? Number(liveControls.elements.smoothing.value).toFixed(2) : 'off';
    const curves = [...chartCurves.get(title).values()];
    const axis = liveControls.elements.axis.value === 'time' && timeline.length > 1 ? timeAxis() : STEPS;
    const series = curves.map((curve, i) => ({ ...curve, x: axis.at ? curve.x.map(axis.at) : curve.x, name: curve.key, short: '', color: family(i) }));
    if (chart.clientWidth) paint(series, { log: liveControls.elements.log.checked, smoothing, axis });
    if (curves.length > 1) showLegend(legend, { name: '', entries: curves.map((curve, i) => [curve.key, family(i)]) });
  };
  whenResized(chart, redraw);
  themeChanged.push(redraw);
  return redraw;
}

// Seconds, minutes or hours of training at a step, between the entries of the timeline.
function timeAxis() {
  const total = timeline[timeline.length - 1][1];
  const [name, unit] = total > 7200 ? ['hours', 3600] : total > 180 ? ['minutes', 60] : ['seconds', 1];
  const at = (step) => {
    let i = timeline.findIndex(([later]) => later >= step);
    if (i < 0) i = timeline.length - 1;
    const [[from, start], [to, end]] = [timeline[Math.max(0, i - 1)], timeline[i]];
    return (to === from ? end : start + ((step - from) / (to - from)) * (end - start)) / unit;
  };
  return { name, at, describe: (time) => `${formatNumber(time)} ${name}` };
}

liveControls.addEventListener('input', drawCurves);
liveControls.addEventListener('submit', (event) => event.preventDefault());
