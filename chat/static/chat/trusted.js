// The one place where text becomes markup. What comes here is the server's own, cleaned by it; the
// browser refuses every other place (Trusted Types).

const server =
  globalThis.trustedTypes?.createPolicy("server-html", { createHTML: (html) => html }) ??
  { createHTML: (html) => html };

export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = server.createHTML(html);
  return template.content;
}

export const parsePage = (html) => new DOMParser().parseFromString(server.createHTML(html), "text/html");
