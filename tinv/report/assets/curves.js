// The curves: of a sweep in one chart, of a run in several charts.
const curveControls = find('[data-curves-controls]');
if (curveControls) (report.kind === 'sweep' ? sweepCurves : runCurves)();

function curveOptions() {
  const smoothing = Number(curveControls.elements.smoothing.value);
  curveControls.elements['smoothing-shown'].value = smoothing ? smoothing.toFixed(2) : 'off';
  return { log: curveControls.elements.log.checked, smoothing };
}

function onOptions(redraw) {
  curveControls.addEventListener('input', redraw);
  curveControls.addEventListener('submit', (event) => event.preventDefault());
  themeChanged.push(redraw);
}

function sweepCurves() {
  const chart = find('#curves-chart');
  const { metric, color } = curveControls.elements;
  const paint = lineChart(chart, { title: () => metric.value, onHover: highlight });
  const index = new Map(report.points.map((point, i) => [point.number, i]));

  function redraw() {
    const colors = colorBy(color.value === '' ? null : Number(color.value));
    const series = report.curves[metric.value].map((curve) => {
      const i = index.get(curve.key);
      const point = report.points[i];
      return { ...curve, name: `point ${curve.key}`, detail: point.label, short: String(curve.key), color: colors.of(i) };
    });
    paint(series, curveOptions());
    showLegend(find('#curves-legend'), colors.legend);
    for (const row of findAll('tr[data-point]')) {
      const swatch = find('.swatch', row);
      swatch.style.background = colors.of(index.get(Number(row.dataset.point)));
    }
  }

  onOptions(redraw);
  whenResized(chart, redraw);
}

function runCurves() {
  for (const chart of findAll('[data-chart]')) {
    const curves = report.charts[chart.dataset.chart];
    const paint = lineChart(chart, { title: () => chart.dataset.chart });
    const redraw = () => {
      const options = curveOptions();
      const series = curves.map((curve, i) => ({ ...curve, name: curve.key, short: '', color: family(i) }));
      paint(series, chart.dataset.chart === 'Loss' ? options : { ...options, smoothing: 0 });
    };
    if (curves.length > 1) {
      const legend = make('div', { class: 'legend' });
      chart.after(legend);
      const relabel = () => showLegend(legend, { name: '', entries: curves.map((curve, i) => [curve.key, family(i)]) });
      themeChanged.push(relabel);
      relabel();
    }
    onOptions(redraw);
    whenResized(chart, redraw);
  }
}
