// Questions to the model, answered in place.
import { ask, clock, element } from "./common.js";

const place = document.getElementById("answer");

function question(name, address, shown) {
  document.getElementById(name).addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = Object.fromEntries(new FormData(event.target));
    place.textContent = "…";
    try {
      const answer = await ask(address(said));
      place.replaceChildren(...shown(answer), ...answer.quality.notes.map((note) => element("p", note, { class: "note" })));
    } catch (error) {
      place.replaceChildren(element("p", error.message, { class: "notice" }));
    }
  });
}

function moment(text) {
  const cut = text.lastIndexOf("@");
  const [name, second] = cut < 0 ? [text, ""] : [text.slice(0, cut), text.slice(cut + 1)];
  const parts = second.split(":").map(Number);
  const at = parts.reduce((sum, part) => 60 * sum + part, 0);
  return [`/api/videos/${encodeURIComponent(name)}`, second && Number.isFinite(at) ? `at=${at}` : ""];
}

question("imagine", (said) => `/api/imagine?text=${encodeURIComponent(said.text)}&clips=4`, (answer) => {
  const reel = element("div", "", { class: "reel" });
  for (const clip of answer.clips) {
    const figure = element("figure");
    if (clip.picture) figure.append(element("img", "", { src: clip.picture, alt: clip.name ?? clip.token }));
    const words = element("figcaption", `${clip.name ?? clip.token} `, { dir: "auto" });
    if (clip.nearest?.name) words.append(element("a", `${clip.nearest.name} ${clock(clip.nearest.start)}`, { href: `/video/${clip.nearest.video}?t=${clip.nearest.start}` }));
    figure.append(words);
    reel.append(figure);
  }
  return answer.clips.length ? [reel] : [element("p", "Nothing: no learned sentence has a word of it.")];
});

question("blanks", (said) => {
  const [video, at] = moment(said.moment);
  return `${video}/captions?${at}&template=${encodeURIComponent(said.template)}`;
}, (answer) => answer.captions.slice(0, 20).map((c) => element("p", `${clock(c.start)}–${clock(c.end)}  ${c.text}`, { dir: "auto" })));

question("classify", (said) => {
  const [video, at] = moment(said.moment);
  return `${video}/classify?${at}&verbs=${encodeURIComponent(said.verbs)}&nouns=${encodeURIComponent(said.nouns)}`;
}, (answer) => answer.moments.slice(0, 20).flatMap((m) => {
  const lines = [element("h3", `${clock(m.start)}–${clock(m.end)}`)];
  for (const kind of ["verbs", "nouns"]) {
    if (m[kind]?.length) lines.push(element("p", `${kind}: ${m[kind].slice(0, 5).map((n) => n.name + (n.heard ? " (said here)" : n.said ? ` (${n.said} of ${n.seen})` : answer.quality.above_chance && n.probability !== null && n.probability !== undefined ? ` ${n.probability.toFixed(2)}` : "")).join(", ")}`, { dir: "auto" }));
  }
  return lines;
}));
