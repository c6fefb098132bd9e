// Links to a place in the same answer: from a contents list to a heading, between a footnote and its reference.

export function startInPageLinks(messages) {
  messages.addEventListener("click", (event) => {
    const link = event.target.closest('.prose a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    const target = targetOf(link);
    if (!target) return;
    if (target.tabIndex < 0) target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  });
}

// Answers have no ids, which would clash between messages: a heading is found by its words, as GitHub names it.
function targetOf(link) {
  const body = link.closest(".prose");
  const name = link.getAttribute("href").slice(1);
  const [, kind, label] = /^(fn|fnref)-(.*)/.exec(name) ?? [];
  const partner = kind && `#${kind === "fn" ? "fnref" : "fn"}-${label}`;
  if (partner && link.closest("sup")) {
    return [...body.querySelectorAll("sup > a")].find((each) => each.getAttribute("href") === partner);
  }
  const wanted = slug(new URLSearchParams(`name=${name}`).get("name")); // decodes, and never throws
  return [...body.querySelectorAll("h3, h4, h5, h6")].find((each) => slug(each.textContent) === wanted);
}

const slug = (words) =>
  words
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-")
    .replace(/^-+|-+$/g, "");
