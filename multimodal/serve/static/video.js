// The player and its transcript go together; the address holds the moment.
import { ask, clock, element } from "./common.js";
import { mending } from "./mend.js";

const root = document.getElementById("video");
const player = document.getElementById("player");
const list = document.getElementById("sentences");
const sentences = [...(list?.children ?? [])].map((row) => ({ row, start: Number(row.dataset.start), end: Number(row.dataset.end) }));
const { video, seconds } = root.dataset;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const LEAD = 1;
let current = null;
let offset = 0; // of a cut clip in the whole video
let touched = 0; // when somebody scrolled the transcript

const time = () => (player ? player.currentTime : 0) + offset;

function seek(second, plays = true) {
  remember(second);
  if (!player) return show(second);
  if (player.classList.contains("cut")) {
    offset = Math.max(0, second - LEAD);
    const end = Math.min(Number(seconds), offset + 60);
    player.src = `/api/videos/${video}/clip.mp4?start=${offset.toFixed(1)}&end=${end.toFixed(1)}`;
  } else {
    player.currentTime = Math.max(0, second);
  }
  if (plays) player.play().catch(() => {});
  show(second);
}

function remember(second) {
  const address = new URL(location);
  address.searchParams.set("t", second.toFixed(1).replace(/\.0$/, ""));
  history.replaceState(null, "", address);
}

/** Marks what is said at a second, and offers it to be taken away. */
function show(second) {
  document.getElementById("now")?.setAttribute("transform", `translate(${(1000 * second) / (Number(seconds) || 1)} 0)`);
  const said = sentences.findLast((s) => s.start <= second + 0.05) ?? null;
  if (said !== current) {
    current?.row.classList.remove("now");
    current?.row.firstElementChild?.removeAttribute("aria-current");
    current = said;
    said?.row.classList.add("now");
    said?.row.firstElementChild?.setAttribute("aria-current", "true");
    if (said && Date.now() - touched > 4000) {
      const top = said.row.offsetTop - list.clientHeight / 3;
      list.scrollTo({ top, behavior: calm.matches ? "auto" : "smooth" });
    }
  }
  take(said && said.end >= second - 3 ? said : { start: second, end: Math.min(second + 5, Number(seconds)), row: null });
}

function take(moment) {
  const start = moment.start.toFixed(2);
  const end = Math.max(moment.end, moment.start + 0.5).toFixed(2);
  const text = moment.row?.querySelector(".text").textContent.slice(0, 2000) ?? "";
  document.getElementById("moment").hidden = false;
  document.getElementById("moment-time").textContent = clock(moment.start);
  document.getElementById("take-link").href = `?t=${moment.start.toFixed(1)}`;
  const range = `start=${start}&end=${end}`;
  const clip = document.getElementById("take-clip");
  if (clip) clip.href = `/api/videos/${video}/clip.mp4?${range}`;
  for (const kind of ["csv", "edl"]) {
    document.getElementById(`take-${kind}`).href = `/api/videos/${video}/moment.${kind}?${range}&text=${encodeURIComponent(text)}`;
  }
  document.getElementById("take-like").href = `/?like=${video}@${((moment.start + moment.end) / 2).toFixed(1)}`;
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const place = event.target.closest("[data-seek]");
  const line = event.target.closest(".sentences li a");
  if (place) {
    event.preventDefault();
    seek(Number(place.dataset.seek));
  } else if (line) {
    event.preventDefault();
    seek(Number(line.parentElement.dataset.start));
  }
});
list?.addEventListener("wheel", () => { touched = Date.now(); }, { passive: true });
list?.addEventListener("touchmove", () => { touched = Date.now(); }, { passive: true });

if (player) {
  player.addEventListener("timeupdate", () => show(time()));
  player.addEventListener("error", () => {
    if (player.classList.contains("cut")) return;
    document.getElementById("unplayable").hidden = false;
    player.classList.add("cut");
    player.removeAttribute("src");
  });
  player.addEventListener("play", () => {
    if (player.classList.contains("cut") && !player.getAttribute("src")) seek(Number(new URL(location).searchParams.get("t") ?? 0));
  });
}

// Finding in the transcript.
const finder = document.getElementById("find");
finder?.addEventListener("input", () => {
  const wanted = finder.value.trim().toLocaleLowerCase();
  let count = 0;
  for (const { row } of sentences) {
    const fits = row.querySelector(".text").textContent.toLocaleLowerCase().includes(wanted);
    row.classList.toggle("off", !fits);
    count += fits ? 1 : 0;
  }
  document.getElementById("found").textContent = wanted ? `${count} of ${sentences.length}` : "";
});

// What the model makes of it.
const notes = (quality) => quality.notes.map((note) => element("p", note, { class: "note" }));
document.getElementById("expect")?.addEventListener("click", async () => {
  const place = document.getElementById("expected");
  const second = Math.min(Math.max(time(), 1.5), Number(seconds));
  place.textContent = "…";
  try {
    const answer = await ask(`/api/videos/${video}/next?at=${second.toFixed(2)}`);
    const grid = element("div", "", { class: "horizons" });
    for (const horizon of answer.horizons) {
      const column = element("div");
      column.append(element("h3", `in ${horizon.seconds} s`));
      for (const token of horizon.tokens) {
        const line = element("div", "", { class: "guess" });
        if (token.picture) line.append(element("img", "", { src: token.picture, alt: "" }));
        const sure = answer.quality.above_chance && token.probability !== null ? `${Math.round(100 * token.probability)} % ` : "";
        line.append(element("span", `${sure}${token.name ?? token.token}`, { dir: "auto" }));
        column.append(line);
      }
      grid.append(column);
    }
    place.replaceChildren(element("p", `After ${clock(answer.at)}, by ${answer.quality.method}:`), grid, ...notes(answer.quality));
  } catch (error) {
    place.replaceChildren(element("p", error.message, { class: "notice" }));
  }
});
document.getElementById("describe")?.addEventListener("click", async () => {
  const place = document.getElementById("captions");
  place.textContent = "…";
  try {
    const answer = await ask(`/api/videos/${video}/captions`);
    const lines = element("ol", "", { class: "lines" });
    for (const caption of answer.captions) {
      const line = element("li");
      const link = element("a", clock(caption.start), { href: `?t=${caption.start.toFixed(1)}`, "data-seek": String(caption.start) });
      line.append(link, " ", element("span", caption.text || "nothing", { dir: "auto" }), " ", element("span", caption.route.replace("_", " "), { class: "soft small" }));
      lines.append(line);
    }
    place.replaceChildren(...notes(answer.quality), lines);
  } catch (error) {
    place.replaceChildren(element("p", error.message, { class: "notice" }));
  }
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, button, summary")) return;
  const place = sentences.indexOf(current);
  if (event.key === "/") {
    event.preventDefault();
    finder?.focus();
  } else if (event.key === "[" && sentences.length) {
    seek(sentences[Math.max(0, place - (time() - (current?.start ?? 0) > 1.5 ? 0 : 1))].start);
  } else if (event.key === "]" && sentences.length) {
    seek(sentences[Math.min(sentences.length - 1, place + 1)].start);
  } else if (event.key === " " && player && event.target !== player) {
    event.preventDefault();
    if (player.paused) player.play(); else player.pause();
  } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && player && event.target !== player) {
    event.preventDefault();
    seek(Math.max(0, time() + (event.key === "ArrowLeft" ? -5 : 5)), !player.paused);
  }
});

mending(root, sentences);
const asked = new URL(location).searchParams.get("t");
if (asked !== null && Number.isFinite(Number(asked))) show(Number(asked));
