// A tooltip beside the pointer.
function tooltip(chart) {
  const box = make('div', { class: 'tooltip', hidden: '' });
  chart.append(box);
  return {
    show(x, y, lines) {
      box.replaceChildren(...lines.map((line, i) => make(i ? 'div' : 'strong', {}, line)));
      box.hidden = false;
      const left = x + 14 + box.offsetWidth > chart.clientWidth ? x - 14 - box.offsetWidth : x + 14;
      box.style.left = `${Math.max(0, left)}px`;
      box.style.top = `${Math.max(0, y - box.offsetHeight - 8)}px`;
    },
    hide() {
      box.hidden = true;
    },
  };
}
