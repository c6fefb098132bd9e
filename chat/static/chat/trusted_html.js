// The only place that makes markup from text: HTML that the server has sanitized. Trusted Types make the
// browser refuse any other.

const server =
  globalThis.trustedTypes?.createPolicy("server-html", { createHTML: (html) => html }) ??
  { createHTML: (html) => html };

export function parseFragment(html) {
  const template = document.createElement("template");
  template.innerHTML = server.createHTML(html);
  return template.content;
}

export const parsePage = (html) => new DOMParser().parseFromString(server.createHTML(html), "text/html");
