// Results while typing, playing in place, previews, keys. Without this script the form and the links work as they are.
import { still } from "./common.js";

const form = document.getElementById("search");
const box = document.getElementById("q");
const results = document.getElementById("results");
const status = document.getElementById("status");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let asking = null;
let timer = 0;

function parameters() {
  const said = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    const field = form.elements[name];
    const first = field.tagName === "SELECT" ? field.options[0].value : "";
    if (value.trim() && value !== first) said.set(name, value);
  }
  return said;
}

async function ask(keep) {
  asking?.abort();
  asking = new AbortController();
  const said = parameters();
  const address = said.size ? `/?${said}` : "/";
  history[keep ? "pushState" : "replaceState"](null, "", address);
  document.title = `${box.value.trim() || "Search"} · videobert`;
  results.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`/results?${said}`, { signal: asking.signal });
    if (answer.headers.get("content-type")?.startsWith("text/html")) {
      results.innerHTML = await answer.text();
    } else {
      const problem = await answer.json();
      results.replaceChildren(Object.assign(document.createElement("p"), { className: "notice", textContent: problem.detail }));
    }
    const count = results.querySelectorAll(".hit").length;
    status.textContent = said.size ? `${count} moments` : "";
    results.removeAttribute("aria-busy");
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

form.addEventListener("input", (event) => {
  if (event.target.type === "file") return; // a picture is another question
  clearTimeout(timer);
  timer = setTimeout(() => ask(false), 150);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  ask(true);
});
addEventListener("popstate", () => location.reload());

function play(hit) {
  const { plays, start, end, captions } = hit.dataset;
  if (!plays) return;
  const shown = hit.querySelector(".screen video.player");
  if (shown) {
    if (shown.paused) shown.play(); else shown.pause();
    return;
  }
  for (const other of results.querySelectorAll("video.player")) other.pause();
  preview(hit, false);
  const video = document.createElement("video");
  video.className = "player";
  video.controls = true;
  video.autoplay = true;
  video.playsInline = true;
  video.src = `${plays}#t=${start}`;
  if (!plays.includes("clip.mp4")) {
    const track = Object.assign(document.createElement("track"), { kind: "captions", label: "Transcript", src: captions, default: true });
    video.append(track);
  }
  // It stops once at the end of the moment; whoever plays on goes on.
  const stop = () => {
    if (video.currentTime >= Number(end)) {
      video.pause();
      video.removeEventListener("timeupdate", stop);
    }
  };
  video.addEventListener("timeupdate", stop);
  video.addEventListener("error", () => {
    const said = Object.assign(document.createElement("p"), { className: "small soft", textContent: "This browser cannot play this file; its pictures are on its page." });
    video.replaceWith(said);
  });
  hit.querySelector(".play").hidden = true;
  hit.querySelector(".screen").append(video);
  hit.classList.add("playing");
}

results.addEventListener("click", (event) => {
  const link = event.target.closest(".play");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const hit = link.closest(".hit");
  if (!hit.dataset.plays) return;
  event.preventDefault();
  hit.focus();
  play(hit);
});

// A preview plays, without a sound, where the pointer rests; what no browser plays steps through pictures.
let resting = 0;
function preview(hit, on) {
  clearTimeout(resting);
  const link = hit.querySelector(".play");
  link.querySelector("video")?.remove();
  still(link.querySelector("img"), null);
  if (!on || calm.matches || link.hidden) return;
  resting = setTimeout(() => {
    const { plays, start, end, stills } = hit.dataset;
    if (!plays || plays.includes("clip.mp4")) {
      still(link.querySelector("img"), stills.trim().split(" "));
      return;
    }
    const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, loop: true, playsInline: true });
    video.src = `${plays}#t=${start},${end}`;
    video.addEventListener("error", () => video.remove());
    link.append(video);
  }, 350);
}
results.addEventListener("pointerover", (event) => {
  const link = event.target.closest(".play");
  if (link && event.pointerType === "mouse" && !link.contains(event.relatedTarget)) preview(link.closest(".hit"), true);
});
results.addEventListener("pointerout", (event) => {
  const link = event.target.closest(".play");
  if (link && !link.contains(event.relatedTarget)) preview(link.closest(".hit"), false);
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  const hits = [...results.querySelectorAll(".hit")];
  const here = hits.indexOf(document.activeElement?.closest(".hit"));
  if (event.key === "/" && !typing) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "ArrowDown" && (!typing || event.target === box) && hits.length) {
    event.preventDefault();
    hits[Math.min(here + 1, hits.length - 1)].focus();
  } else if (event.key === "ArrowUp" && !typing && here >= 0) {
    event.preventDefault();
    if (here === 0) box.focus(); else hits[here - 1].focus();
  } else if ((event.key === " " || event.key === "Enter") && here >= 0 && document.activeElement === hits[here]) {
    event.preventDefault();
    if (event.key === " ") play(hits[here]); else location.href = hits[here].dataset.page;
  }
});

// A picture or a clip of one's own, chosen, dropped or pasted.
const picture = document.getElementById("picture");
async function askByPicture(file) {
  if (!file) return;
  const kind = file.type.startsWith("image/") ? "picture" : "clip";
  asking?.abort();
  results.replaceChildren(Object.assign(document.createElement("p"), { textContent: `The ${kind} is looked at…` }));
  const answer = await fetch(`/results/${kind}`, { method: "POST", body: file });
  if (answer.headers.get("content-type")?.startsWith("text/html")) {
    results.innerHTML = await answer.text();
    const own = results.querySelector(".own");
    if (own) own.src = URL.createObjectURL(file);
    if (kind === "clip" && !calm.matches) own?.play().catch(() => {});
  } else {
    results.replaceChildren(Object.assign(document.createElement("p"), { className: "notice", textContent: (await answer.json()).detail }));
  }
  status.textContent = `${results.querySelectorAll(".hit").length} moments`;
}
if (picture) {
  picture.hidden = document.querySelector("label.picture").hidden = false;
  picture.addEventListener("change", () => askByPicture(picture.files[0]));
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => { event.preventDefault(); askByPicture(event.dataTransfer.files[0]); });
  addEventListener("paste", (event) => { if (event.clipboardData.files.length) askByPicture(event.clipboardData.files[0]); });
}
