/* What changes by itself is asked for again while somebody looks at it. A page that nobody has
 * touched for a while asks no more, so that its session ends as it should. */
const EVERY_MS = 2000;
const UNTOUCHED_MS = 20 * 60 * 1000;

let touched = Date.now();
for (const type of ["pointerdown", "keydown", "wheel", "touchstart"])
  window.addEventListener(type, () => { touched = Date.now(); }, { passive: true });

/* look() shows its failures itself. It ends when content is no longer shown. */
export function watch(content, look) {
  const again = async () => {
    if (!content.isConnected) return;
    if (!document.hidden && Date.now() - touched < UNTOUCHED_MS) await look();
    setTimeout(again, EVERY_MS);
  };
  setTimeout(again, EVERY_MS);
}
