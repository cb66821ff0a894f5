"""Opens pages in Chromium."""

import shutil

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason='Playwright is missing; pip install "tinv[dev]"')
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; apt-get install chromium"),
]
HOSTILE = "</script><script>window.hit=1</script><img src=//evil.test/x onerror=window.hit=2>\"' onload=window.hit=3 "
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1400, "height": 900}}
DARK = {**DESKTOP, "color_scheme": "dark"}
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (color) => [.2126, .7152, .0722].reduce((sum, share, i) => sum + share * linear(color[i] / 255), 0);
  const behind = (it) => {
    const color = it ? parse(getComputedStyle(it).backgroundColor) : [255, 255, 255];
    return color[3] === 0 ? behind(it.parentElement) : color;
  };
  const poor = new Set();
  for (const it of document.querySelectorAll('main *, header *, footer *')) {
    const hasText = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!hasText || !it.checkVisibility()) continue;
    const style = getComputedStyle(it);
    const [a, b] = [light(parse(it.closest('svg') ? style.fill : style.color)), light(behind(it))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) poor.add(`${it.tagName}.${it.classList} ${contrast.toFixed(2)}`);
  }
  return [...poor];
}"""
"""Texts with less contrast than WCAG AA requires."""
NAMELESS = """() => [...document.querySelectorAll('button, input, select, a, [role=img], dialog')]
  .filter((it) => !it.textContent.trim() && !it.ariaLabel && !it.labels?.length && !it.querySelector('img[alt]'))
  .map((it) => it.outerHTML.slice(0, 80))"""
"""Controls without an accessible name."""
