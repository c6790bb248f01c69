// Enhances the page, which also works without: live results, playing in place, keys, pictures.
"use strict";

const form = document.getElementById("search");
const words = document.getElementById("q");
let pending = null;

// --- results

async function show(address, push) {
  pending?.abort();
  pending = new AbortController();
  document.body.classList.add("busy");
  try {
    const response = await fetch(address, { signal: pending.signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    document.getElementById("results").replaceWith(page.getElementById("results"));
    document.title = page.title;
    if (push) {
      history.pushState(null, "", address);
      document.getElementById("results").focus();  // so that keys act on the results
    }
    else history.replaceState(null, "", address);
    prepare();
  } catch (error) {
    if (error.name === "AbortError") return;
    say("The server does not answer. Is vop serve still running?");
  }
  document.body.classList.remove("busy");
}

function addressOfForm() {
  const values = [...new FormData(form)].filter(([, value]) => typeof value === "string" && value.trim());
  return "/?" + new URLSearchParams(values);
}

let timer = 0;
form.addEventListener("input", (event) => {
  if (event.target.type === "file" || !form.checkValidity()) return;
  clearTimeout(timer);
  timer = setTimeout(() => show(addressOfForm(), false), 250);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  show(addressOfForm(), true);
});
addEventListener("popstate", () => location.reload());

// --- videos

function play(card, start, end) {
  const player = card.querySelector(".player") ?? card.appendChild(
    document.getElementById("player").content.firstElementChild.cloneNode(true));
  document.querySelectorAll("video").forEach((other) => other.pause());
  const video = player.querySelector("video");
  video.onerror = () => {  // a kind of file that the browser does not know: let the server make a clip
    video.onerror = () => { player.querySelector(".error").hidden = false; };
    const stop = Math.min(end ?? Infinity, Number(start) + 30);
    video.src = `${card.dataset.video.replace("/video/", "/clip/")}&start=${start}&end=${stop}`;
  };
  video.src = `${card.dataset.video}#t=${start}${end ? "," + end : ""}`;
  card.classList.add("playing");
  player.scrollIntoView({ block: "nearest" });
}

function close(card) {
  card?.querySelector(".player")?.remove();
  card?.classList.remove("playing");
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest("a[data-start]");
  const button = event.target.closest("button[data-copy]");
  if (link) {
    event.preventDefault();
    play(link.closest(".card"), link.dataset.start, link.dataset.end);
  } else if (button) {
    navigator.clipboard.writeText(button.dataset.copy).then(() => say("Copied"), () => say("Not copied"));
  }
});

// --- keys

function move(step) {
  const cards = [...document.querySelectorAll(".card")];
  const at = cards.indexOf(document.activeElement?.closest(".card"));
  const next = cards[Math.min(Math.max(at + step, 0), cards.length - 1)];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  "/": () => { words.focus(); words.select(); },
  j: () => move(1),
  k: () => move(-1),
  x: (card) => card?.querySelector("input[name=pick]").click(),
  m: (card) => card?.querySelector(".best .like").click(),
  Escape: (card) => { close(card); card?.focus(); },
  Enter: (card) => card && play(card, card.dataset.start, card.dataset.end),
  " ": (card) => {
    const video = card?.querySelector("video");
    if (video) video[video.paused ? "play" : "pause"]();
    else if (card) play(card, card.dataset.start, card.dataset.end);
  },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target.matches("input:not([type=checkbox]), select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const isOwn = target.matches("a, button, summary, video, input");
  if (isOwn && (event.key === "Enter" || event.key === " ")) return;
  const act = KEYS[event.key];
  const card = target.closest?.(".card");
  if (!act || (event.key === " " && !card)) return;
  event.preventDefault();
  act(card);
});

// --- pictures

async function upload(file) {
  say("Sending the picture");
  const response = await fetch("/pictures", { method: "POST", body: file });
  const answer = await response.json().catch(() => ({ error: "The picture was refused" }));
  if (response.ok) location.assign("/?" + new URLSearchParams({ picture: answer.picture }));
  else say([answer.error, answer.hint].filter(Boolean).join(": "));
}

const zone = document.getElementById("drop");
addEventListener("dragover", (event) => {
  event.preventDefault();
  zone.hidden = ![...event.dataTransfer.types].includes("Files");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  zone.hidden = true;
  if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => { if (event.clipboardData.files[0]) upload(event.clipboardData.files[0]); });
document.getElementById("file").addEventListener("change", (event) => upload(event.target.files[0]));

// --- the rest

function say(text) {
  const note = document.getElementById("note") ?? document.body.appendChild(
    Object.assign(document.createElement("p"), { id: "note" }));
  note.setAttribute("role", "status");
  note.textContent = text;
  clearTimeout(note.timer);
  note.timer = setTimeout(() => note.remove(), 4000);
}

const watching = document.getElementById("watching");
if (watching) setInterval(async () => {
  const answer = await fetch("/api/info").then((response) => response.json()).catch(() => null);
  if (answer?.watching) watching.textContent = answer.watching.state || "All videos are indexed";
}, 2000);

function prepare() {
  document.querySelectorAll("button[data-copy]").forEach((button) => { button.hidden = !navigator.clipboard; });
}
prepare();
if (!words.value && !document.querySelector(".card")) words.focus();
