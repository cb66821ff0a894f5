// A sweep's page is made anew when its files have changed: at once after a pause, and never while a sample is enlarged.
const MIN_PAUSE_MS = 10000;
const opened = Date.now();
let reloadTimer = null;

whenChanged(url('changes/sweep', report.id), async () => {
  reloadTimer ??= setInterval(() => {
    const isIdle = !document.querySelector('dialog[open]') && !document.activeElement.matches('input, select');
    if (isIdle && Date.now() - opened > MIN_PAUSE_MS) location.reload();
  }, 1000);
});
