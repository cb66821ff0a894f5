// The color of a point: by its value, or by a setting.
const RAMPS = {
  light: ['#00545c', '#1c8a86', '#5f8f74', '#b07d3f', '#b8502a'],
  dark: ['#6ff0dc', '#3fb5ab', '#6f9c8a', '#c69a5d', '#d8714a'],
};
const FAMILIES = {
  light: ['#00707a', '#c2542d', '#5b57a6', '#8a6d00', '#b0437f', '#3c7a2e', '#2f6fb3', '#5d5a55'],
  dark: ['#4fd0c8', '#f08a5d', '#a8a4f0', '#d9b648', '#ee8bbd', '#8cc977', '#79b5f2', '#b8b4ad'],
};
const theme = () => (matchMedia('(prefers-color-scheme: dark)').matches && !matchMedia('print').matches ? 'dark' : 'light');

function interpolate(ramp, share) {
  const position = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const left = Math.min(Math.floor(position), ramp.length - 2);
  const [a, b] = [ramp[left], ramp[left + 1]].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * (position - left))).join(' ')})`;
}

function family(i) {
  const colors = FAMILIES[theme()];
  return colors[i % colors.length];
}

// Returns a function from the index of a point to its color, and a legend.
function colorBy(axisNumber) {
  return axisNumber === null ? byValue() : byAxis(report.axes[axisNumber]);
}

function byValue() {
  const sign = report.direction === 'maximize' ? -1 : 1;
  const ranked = report.points.map((point, i) => [point.value, i]).filter(([value]) => value !== null);
  ranked.sort((a, b) => sign * (a[0] - b[0]));
  const share = new Map(ranked.map(([, i], rank) => [i, ranked.length > 1 ? rank / (ranked.length - 1) : 0]));
  const ends = ranked.length > 1 ? [ranked[0][0], ranked[ranked.length - 1][0]] : [];
  return {
    of: (i) => (share.has(i) ? interpolate(RAMPS[theme()], share.get(i)) : 'var(--faint)'),
    legend: ends.length ? { ramp: RAMPS[theme()], ends: ends.map(formatNumber), name: report.monitor } : null,
  };
}

function byAxis(axis) {
  const values = [...new Set(axis.at.filter((value) => value !== null))].sort((a, b) => a - b);
  if (values.length <= FAMILIES.light.length) {
    const entries = values.map((value, i) => [axis.words ? axis.words[value] : formatNumber(value), family(i)]);
    return { of: (i) => (axis.at[i] === null ? 'var(--faint)' : family(values.indexOf(axis.at[i]))), legend: { entries, name: axis.name } };
  }
  const share = (value) => values.indexOf(value) / (values.length - 1);
  const ends = [values[0], values[values.length - 1]].map((value) => (axis.words ? axis.words[value] : formatNumber(value)));
  return {
    of: (i) => (axis.at[i] === null ? 'var(--faint)' : interpolate(RAMPS[theme()], share(axis.at[i]))),
    legend: { ramp: RAMPS[theme()], ends, name: axis.name },
  };
}

function showLegend(target, legend) {
  target.replaceChildren();
  if (!legend) return;
  target.append(make('span', { class: 'muted' }, legend.name));
  if (legend.entries) {
    for (const [name, color] of legend.entries) {
      const dot = make('i', { class: 'dot' });
      dot.style.background = color;
      target.append(make('span', {}, dot, name));
    }
    return;
  }
  const bar = make('i', { class: 'bar' });
  bar.style.background = `linear-gradient(to right, ${legend.ramp.join(', ')})`;
  target.append(make('span', {}, legend.ends[0], bar, legend.ends[1]));
}
