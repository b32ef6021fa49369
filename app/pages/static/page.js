// What every page does: pieces that take the place of others, live or after a form was sent; dialogs,
// copying, light and dark. Attributes in the HTML say where; docs/pages.md lists them.

const FRAGMENT = { "X-Fragment": "1" };

/** Put the elements of some HTML in the place of those with the same id. */
export function swap(html, within = document) {
  const pieces = new DOMParser().parseFromString(html, "text/html").body.children;
  for (const piece of [...pieces]) {
    const old = piece.id && within.querySelector(`#${CSS.escape(piece.id)}`);
    if (!old || old.outerHTML === piece.outerHTML) continue;
    keepOpen(old, piece);
    const focused = old.contains(document.activeElement) && document.activeElement.id;
    old.replaceWith(piece);
    if (focused) document.getElementById(focused)?.focus();
  }
}

// What a visitor has unfolded or scrolled stays so.
function keepOpen(old, piece) {
  for (const details of old.querySelectorAll("details[id]")) {
    const same = piece.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = details.open;
  }
  for (const scrolled of old.querySelectorAll("[data-scrolls][id]")) {
    const same = piece.querySelector(`#${CSS.escape(scrolled.id)}`);
    if (!same) continue;
    const atEnd = scrolled.scrollTop + scrolled.clientHeight >= scrolled.scrollHeight - 8;
    queueMicrotask(() => (same.scrollTop = atEnd ? same.scrollHeight : scrolled.scrollTop));
  }
}

/** Tell a problem at the top of the page, beside nothing in particular. */
export function tell(title, detail = "") {
  const place = document.getElementById("problem");
  const notice = document.createElement("div");
  notice.className = "notice bad";
  for (const [text, name] of [[title, "notice-title"], [detail, ""]]) {
    const line = Object.assign(document.createElement("p"), { textContent: text, className: name });
    if (text) notice.append(line);
  }
  place.replaceChildren(notice);
  place.scrollIntoView({ block: "nearest" });
}

/** Ask for a piece of a page. */
export async function ask(address, options = {}) {
  const headers = { ...FRAGMENT, ...options.headers };
  return fetch(address, { ...options, headers, credentials: "same-origin" });
}

// <form data-enhanced>: sent without leaving the page. Pieces that come back take their places, so
// what was typed stays, also what is typed while the form is on its way; an answer that leads
// elsewhere is followed. Sent again meanwhile by a button with data-last-wins, it goes once more
// after that; other buttons do nothing then, for who presses twice wants it once.
const sentAgain = new WeakMap(); // form → the button
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-enhanced]")) return;
  event.preventDefault();
  if (form.ariaBusy === "true") {
    if (event.submitter?.matches("[data-last-wins]")) sentAgain.set(form, event.submitter.id);
    return;
  }
  form.ariaBusy = "true";
  const sent = valuesIn(form);
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const address = event.submitter?.getAttribute("formaction") ?? form.getAttribute("action");
  try {
    const answer = await ask(address ?? location.href, { method: "POST", body });
    if (answer.redirected) return location.assign(answer.url);
    const type = answer.headers.get("Content-Type") ?? "";
    form.closest("dialog")?.close();
    if (!type.startsWith("text/html")) return tell("That did not work", (await answer.json()).detail);
    document.getElementById("problem").replaceChildren();
    const pieces = await answer.text();
    const typed = valuesIn(form).filter(([id, value]) => new Map(sent).get(id) !== value);
    swap(pieces);
    for (const [id, value] of typed) putBack(id, value);
    document.querySelector("[aria-invalid=true]")?.focus();
  } catch {
    tell("The service cannot be reached", "Nothing you typed is lost; try again in a moment.");
  } finally {
    form.ariaBusy = "false";
    const again = document.getElementById(sentAgain.get(form) ?? "");
    sentAgain.delete(form);
    if (again) form.requestSubmit(again);
  }
});

const isTicked = (control) => ["checkbox", "radio"].includes(control.type);

function valuesIn(form) {
  const named = [...form.elements].filter((control) => control.id && "value" in control);
  return named.map((control) => [control.id, isTicked(control) ? control.checked : control.value]);
}

function putBack(id, value) {
  const control = document.getElementById(id);
  if (!control) return;
  if (isTicked(control)) control.checked = value;
  else control.value = value;
}

// <… data-live="/address">: kept up to date while it is seen. A browser has six connections to a
// service at most, so a hidden page gives its own back.
class Live {
  #address;
  #events = null;
  #over = false;
  #failed = 0;
  #timer = 0;

  constructor(address) {
    this.#address = address;
    document.addEventListener("visibilitychange", () => this.#follow());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", () => this.#follow());
    this.#follow();
  }

  #follow() {
    if (document.hidden || this.#over) return this.#close();
    if (this.#events) return;
    this.#events = new EventSource(this.#address);
    this.#events.onmessage = (event) => {
      this.#failed = 0;
      lost(false);
      swap(event.data);
    };
    this.#events.addEventListener("end", () => {
      this.#over = true;
      this.#close();
    });
    this.#events.addEventListener("problem", () => this.#again());
    this.#events.onerror = () => {
      lost(true);
      if (this.#events?.readyState === EventSource.CLOSED) this.#again();
    };
  }

  // The browser tries again by itself, but not after an answer that was no stream.
  #again() {
    this.#close();
    this.#timer = setTimeout(() => this.#follow(), Math.min(30, 2 ** this.#failed++) * 1000);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#events?.close();
    this.#events = null;
  }
}

function lost(is) {
  document.getElementById("lost").hidden = !is;
}

for (const element of document.querySelectorAll("[data-live]")) new Live(element.dataset.live);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.opens) document.getElementById(button.dataset.opens)?.showModal();
  if ("closes" in button.dataset) button.closest("dialog")?.close();
  if ("copies" in button.dataset) {
    const named = document.getElementById(button.dataset.copies);
    const text = (named ?? button.parentElement.querySelector("code")).textContent;
    const before = button.textContent;
    button.textContent = (await copy(text)) ? "Copied" : "Select and copy it";
    setTimeout(() => (button.textContent = before), 2000);
  }
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // over TLS and on loopback alone
    return true;
  } catch {
    return false;
  }
}

// Light or dark: what the machine prefers, until a visitor says otherwise.
const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `stillhouse-theme=${root.dataset.theme}; Path=/; Max-Age=31536000; SameSite=Lax`;
});

// Whether the service is ready, now and then, while the page is seen.
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await ask("/pages/status");
    if (answer.ok) swap(await answer.text());
    if (!document.querySelector("[data-live]")) lost(false);
  } catch {
    lost(true);
  }
}, 15000);
