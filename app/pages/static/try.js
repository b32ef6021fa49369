// Pictures from anywhere become cards; each is sent alone, so that a bad one is told beside itself.

import { ask, swap, tell } from "./page.js";

const AT_ONCE = 4;

const drop = document.getElementById("drop");
const cards = document.getElementById("answers");
const tally = document.getElementById("tally");
const template = document.getElementById("card");

const files = new Map(); // card → file, so that all can be asked again
const turns = new Map(); // card → how often it was asked about; only the last answer is shown
const waiting = [];
let busy = 0;

/** Make a card of each file, the first one on top, and ask about it. */
function take(list) {
  const taken = [...list];
  for (const file of taken.toReversed()) {
    const card = template.content.firstElementChild.cloneNode(true);
    const image = card.querySelector("img");
    image.addEventListener("error", () => card.querySelector(".preview").classList.add("is-blind"));
    image.src = URL.createObjectURL(file);
    image.alt = file.name;
    card.querySelector("figcaption").textContent = file.name;
    card.querySelector(".remove").ariaLabel = `Remove ${file.name}`;
    files.set(card, file);
    cards.prepend(card);
  }
  waiting.push(...[...cards.children].slice(0, taken.length));
  next();
}

function next() {
  count();
  while (busy < AT_ONCE && waiting.length) {
    busy += 1;
    answer(waiting.shift()).finally(() => {
      busy -= 1;
      next();
    });
  }
}

async function answer(card) {
  const file = files.get(card);
  if (!file) return; // it was removed while it waited
  const turn = (turns.get(card) ?? 0) + 1;
  turns.set(card, turn);
  const isLate = () => turns.get(card) !== turn;
  const said = card.querySelector(".said");
  const most = Number(drop.dataset.maxBytes);
  if (file.size > most) {
    return fail(card, "The picture is too large", `It may have ${drop.dataset.maxSize} at most.`);
  }
  try {
    const query = new URLSearchParams(new FormData(document.getElementById("options-form")));
    query.set("name", file.name);
    const answered = await ask(`${drop.dataset.answer}?${query}`, { method: "POST", body: file });
    const type = answered.headers.get("Content-Type") ?? "";
    if (!type.startsWith("text/html")) {
      const problem = await answered.json();
      if (isLate()) return;
      return fail(card, problem.title, problem.detail, true);
    }
    const text = await answered.text();
    if (isLate()) return;
    const piece = new DOMParser().parseFromString(text, "text/html").querySelector(".answer");
    if (piece) {
      said.replaceChildren(piece);
    } else {
      swap(text); // what is wrong is not the picture: how it was asked, or the key
      fail(card, "Not asked", "See what is said above, then ask again.", true);
      document.querySelector("#options [aria-invalid=true]")?.focus();
    }
  } catch {
    if (isLate()) return;
    fail(card, "The service cannot be reached", "The picture is still here; try again in a moment.", true);
  } finally {
    if (!isLate()) card.ariaBusy = "false";
  }
}

function fail(card, title, detail, again = false) {
  const piece = document.createElement("div");
  piece.className = "answer failed";
  piece.dataset.label = "not answered";
  piece.append(
    Object.assign(document.createElement("h2"), { textContent: title }),
    Object.assign(document.createElement("p"), { textContent: detail }),
  );
  if (again) {
    const button = Object.assign(document.createElement("button"), {
      type: "button",
      className: "button plain small",
      textContent: "Try again",
    });
    button.addEventListener("click", () => repeat([card]));
    piece.append(button);
  }
  card.querySelector(".said").replaceChildren(piece);
  card.ariaBusy = "false";
}

function repeat(some) {
  for (const card of some) {
    const line = document.createElement("p");
    line.className = "waiting soft";
    line.textContent = "Asking…";
    card.querySelector(".said").replaceChildren(line);
    card.ariaBusy = "true";
    if (!waiting.includes(card)) waiting.push(card);
  }
  next();
}

// Said to screen readers too.
function count() {
  const all = [...cards.children];
  const done = all.map((card) => card.querySelector(".answer")?.dataset.label).filter(Boolean);
  if (!all.length) tally.textContent = "";
  else if (all.length === 1) tally.textContent = done.length ? `${files.get(all[0]).name}: ${done[0]}` : "";
  else tally.textContent = `${done.length} of ${all.length} pictures answered`;
}

document.getElementById("files")?.addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = ""; // the same picture may be chosen again
});

// Examples come after everything else: where there are many pictures, finding some takes a while.
if (drop) {
  ask("/pages/try/examples")
    .then(async (answered) => answered.ok && swap(await answered.text()))
    .catch(() => {}); // they are not missed
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-example]");
  if (!button) return;
  const answered = await ask(button.dataset.example).catch(() => null);
  if (!answered?.ok) return tell("This picture is gone", "Take another, or one of your own.");
  take([new File([await answered.blob()], button.dataset.name, { type: "image/png" })]);
});

let over = 0; // entering a child is told before leaving its parent
addEventListener("dragenter", (event) => {
  event.preventDefault();
  over += 1;
  drop?.classList.add("is-over");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("dragleave", () => {
  over = Math.max(0, over - 1);
  if (!over) drop?.classList.remove("is-over");
});
addEventListener("drop", (event) => {
  event.preventDefault(); // anywhere: else the browser would leave the page to show the picture
  over = 0;
  drop?.classList.remove("is-over");
  if (!drop) return;
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  else tell("That was no file", "Drop pictures that are on this machine.");
});

addEventListener("paste", (event) => {
  if (drop && event.clipboardData?.files.length) take(event.clipboardData.files);
});

cards?.addEventListener("click", (event) => {
  const button = event.target.closest(".remove");
  if (!button) return;
  const card = button.closest("li");
  const after = (card.nextElementSibling ?? card.previousElementSibling)?.querySelector(".remove");
  URL.revokeObjectURL(card.querySelector("img").src);
  files.delete(card);
  turns.delete(card);
  card.remove();
  count();
  (after ?? document.getElementById("files")).focus();
});

document.addEventListener("submit", (event) => {
  if (event.target.id !== "options-form") return;
  event.preventDefault();
  for (const wrong of event.target.querySelectorAll("[aria-invalid]")) {
    wrong.removeAttribute("aria-invalid");
    wrong.closest(".field").querySelector(".error")?.remove();
  }
  if (cards.children.length) repeat([...cards.children]);
  else tell("Drop a picture first", "These are the ways to ask about it.");
});

// The camera, where there is one and the page may ask for it.
const camera = document.getElementById("camera");
const view = document.getElementById("camera-view");
const shutter = document.getElementById("camera-take");
const said = document.getElementById("camera-said");

async function offerCamera() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  document.getElementById("camera-open").hidden = !devices.some((each) => each.kind === "videoinput");
}

async function look() {
  try {
    view.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    shutter.disabled = false;
    if (!camera.open) darken(); // it was closed while the browser asked
  } catch {
    said.textContent = "The camera cannot be used: no leave was given, or another program has it.";
  }
}

function darken() {
  for (const track of view.srcObject?.getTracks() ?? []) track.stop();
  view.srcObject = null;
  shutter.disabled = true;
}

if (camera) {
  offerCamera();
  document.getElementById("camera-open").addEventListener("click", look);
  camera.addEventListener("close", darken);
  shutter.addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
    canvas.getContext("2d").drawImage(view, 0, 0);
    const name = `camera-${new Date().toISOString().slice(11, 19).replaceAll(":", "-")}.jpg`;
    canvas.toBlob((blob) => take([new File([blob], name, { type: blob.type })]), "image/jpeg", 0.92);
    camera.close();
  });
}
