// The newest words stay in view, unless the person has scrolled up to read.

const SLACK = 48; // pixels from the end that still count as the end

export function stickToEnd(view) {
  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight <= SLACK;
  const toEnd = () => view.scrollTo({ top: view.scrollHeight, behavior: "instant" });
  let sticks = true;
  let last = 0;
  view.addEventListener("scroll", () => {
    // Content that shrinks moves the view up as well; that is nobody's wish to read.
    if (atEnd()) sticks = true;
    else if (view.scrollTop < last - 1) sticks = false;
    last = view.scrollTop;
  }, { passive: true });
  const watcher = new ResizeObserver(() => sticks && toEnd());
  watcher.observe(view);
  for (const child of view.children) watcher.observe(child);
  return () => {
    sticks = true;
    toEnd();
  };
}
