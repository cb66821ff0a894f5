// Scales from values to positions, with their ticks.
function linearScale([low, high], [from, to]) {
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  return {
    at: (value) => from + ((value - low) / (high - low)) * (to - from),
    from: (place) => low + ((place - from) / (to - from)) * (high - low),
    ticks: (count) => linearTicks(low, high, count),
  };
}

function logScale([low, high], range) {
  const inner = linearScale([Math.log10(low), Math.log10(high)], range);
  return {
    at: (value) => inner.at(Math.log10(value)),
    from: (place) => 10 ** inner.from(place),
    ticks: (count) => logTicks(low, high, count),
  };
}

// Labels with as many digits as tell the exact values, so that two ticks never read the same.
function tickLabels(values) {
  const labels = values.map(formatNumber);
  if (labels.every((label, i) => Number(label) === values[i])) return labels;
  const sizes = values.filter((value) => value !== 0).map(Math.abs);
  if (Math.min(...sizes) < 1e-3 || Math.max(...sizes) >= 1e5) return values.map((value) => String(value).replace('e+', 'e'));
  const decimals = Math.max(...values.map((value) => (String(value).split('.')[1] ?? '').length));
  return values.map((value) => value.toFixed(decimals));
}

// Pixels to the left of a chart that its labels need; a digit of the font has 7.
function leftMargin(labels) {
  return Math.max(52, 20 + 7 * Math.max(...labels.map((label) => label.length)));
}

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = magnitude * [1, 2, 5, 10].find((times) => times * magnitude >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high, count) {
  const ticks = [];
  for (const digits of [[1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    ticks.length = 0;
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const digit of digits) {
        const value = Number(`${digit}e${power}`);
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
      }
    }
    if (ticks.length >= Math.min(3, count)) return ticks;
  }
  return linearTicks(low, high, count);
}
