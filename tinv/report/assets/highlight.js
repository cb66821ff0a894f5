// Highlights one point in the table, in all charts and in the contact sheet.
const highlightWatchers = [];
let highlighted = null;

function whenHighlighted(watch) {
  highlightWatchers.push(watch);
}

function highlight(number) {
  if (number === highlighted) return;
  highlighted = number;
  for (const watch of highlightWatchers) watch(number);
}

// Marks drawn for a point carry data-of; the chart dims the others.
function markHighlighted(chart) {
  whenHighlighted((number) => {
    const marks = findAll('[data-of]', chart);
    const isThere = number !== null && marks.some((mark) => mark.dataset.of === String(number));
    chart.classList.toggle('dimmed', isThere);
    for (const mark of marks) {
      const isIt = isThere && mark.dataset.of === String(number);
      mark.classList.toggle('on', isIt);
      if (isIt && mark.matches('path')) mark.parentNode.append(mark);
    }
  });
}
