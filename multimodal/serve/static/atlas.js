// The map on a canvas: 20,000 points are drawn in each frame that something moves in.
import { ask, clock, element } from "./common.js";

const canvas = document.getElementById("map");
const pen = canvas.getContext("2d");
const view = { x: 0.5, y: 0.5, scale: 1 }; // centre of the map, and its zoom
const pictures = new Map();
let map = { tokens: [], words: [], k: 1, depth: 1 };
let colours = {};
let sheet = null;
let size = 1;
let drawn = false;
let chosen = null;

const branch = (token) => Math.floor(token / map.k ** (map.depth - 1)) % map.k;
const hue = (token) => `hsl(${(branch(token) * 137.5) % 360} 60% 50%)`;

function redraw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(draw);
}

function fit() {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  size = 0.9 * Math.min(canvas.clientWidth, canvas.clientHeight);
  const style = getComputedStyle(document.documentElement);
  colours = { ink: style.getPropertyValue("--ink"), ground: style.getPropertyValue("--card"), first: style.getPropertyValue("--first") };
  colours.paper = ink(colours.ground);
  redraw();
}

const toScreen = (x, y) => [canvas.clientWidth / 2 + (x - view.x) * size * view.scale, canvas.clientHeight / 2 + (y - view.y) * size * view.scale];
const toMap = (x, y) => [view.x + (x - canvas.clientWidth / 2) / (size * view.scale), view.y + (y - canvas.clientHeight / 2) / (size * view.scale)];

const FEW = 2000;
const seen = { count: 0, index: new Int32Array(0), x: new Float32Array(0), y: new Float32Array(0) };

/** The points on the screen, into arrays that are kept: what is thrown away in each frame has to be collected. */
function look(width, height) {
  const [left, top, zoomed] = [width / 2 - view.x * size * view.scale, height / 2 - view.y * size * view.scale, size * view.scale];
  seen.count = 0;
  for (let n = 0; n < map.tokens.length; n++) {
    const x = left + map.xs[n] * zoomed, y = top + map.ys[n] * zoomed;
    if (x < -40 || y < -40 || x > width + 40 || y > height + 40) continue;
    seen.index[seen.count] = n;
    seen.x[seen.count] = x;
    seen.y[seen.count++] = y;
  }
}

function draw() {
  drawn = false;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  look(width, height);
  // Many points are small, so that none hides the others.
  const most = Math.max(1.5, Math.min(14, 0.4 * Math.sqrt((width * height) / Math.max(1, seen.count))));
  if (seen.count > FEW) pixels(most); else shapes(width, height, most);
  words(width, height);
}

const radius = (point, most) => Math.max(1.5, Math.min(most, (1 + Math.sqrt(point[3])) * Math.sqrt(view.scale)));

/** Thousands of squares, written pixel by pixel: a call of the canvas for each would take ten times as long. */
function pixels(most) {
  const [wide, high] = [canvas.width, canvas.height];
  if (!sheet || sheet.width !== wide || sheet.height !== high) sheet = pen.createImageData(wide, high);
  const dots = new Uint32Array(sheet.data.buffer);
  dots.fill(colours.paper);
  const ratio = wide / Math.max(1, canvas.clientWidth);
  for (let n = 0; n < seen.count; n++) {
    const at = seen.index[n];
    const half = radius(map.tokens[at], most) * ratio;
    const [x, y] = [seen.x[n] * ratio, seen.y[n] * ratio];
    const left = Math.max(0, Math.round(x - half)), right = Math.min(wide, Math.round(x + half));
    for (let row = Math.max(0, Math.round(y - half)), end = Math.min(high, Math.round(y + half)); row < end; row++) {
      if (right > left) dots.fill(map.inks[at], row * wide + left, row * wide + right);
    }
  }
  pen.putImageData(sheet, 0, 0);
  for (let n = 0; n < seen.count; n++) if (map.tokens[seen.index[n]][0] === chosen) outline(seen.x[n], seen.y[n], most);
}

function shapes(width, height, most) {
  pen.fillStyle = colours.ground;
  pen.fillRect(0, 0, width, height);
  const large = seen.count <= 80; // at deep zoom each is its picture
  for (let n = 0; n < seen.count; n++) {
    const [point, x, y] = [map.tokens[seen.index[n]], seen.x[n], seen.y[n]];
    const image = large ? picture(point[0]) : null;
    if (image?.complete && image.naturalWidth) {
      pen.drawImage(image, x - 28, y - 21, 56, 42);
      pen.strokeStyle = point[0] === chosen ? colours.ink : point[5];
      pen.lineWidth = point[0] === chosen ? 4 : 2;
      pen.strokeRect(x - 28, y - 21, 56, 42);
    } else {
      const half = radius(point, most);
      pen.fillStyle = point[5];
      pen.fillRect(x - half, y - half, 2 * half, 2 * half);
      if (point[0] === chosen) outline(x, y, half);
    }
  }
}

function outline(x, y, half) {
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 3;
  pen.strokeRect(x - half - 2, y - half - 2, 2 * half + 4, 2 * half + 4);
}

/** A colour of CSS as a pixel of an image, whose bytes are red, green, blue, opacity. */
function ink(css) {
  const one = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  one.fillStyle = css;
  one.fillRect(0, 0, 1, 1);
  return new Uint32Array(one.getImageData(0, 0, 1, 1).data.buffer)[0];
}

function words(width, height) {
  pen.font = "14px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.lineWidth = 4;
  const taken = [];
  for (const [word, x, y] of map.words) { // the most frequent first
    const [left, top] = toScreen(x, y);
    if (left < 0 || top < 0 || left > width || top > height) continue;
    const half = 4 * word.length + 6;
    if (taken.some(([a, b, c]) => Math.abs(a - left) < c + half && Math.abs(b - top) < 18)) continue;
    taken.push([left, top, half]);
    if (taken.length > 60) break;
    pen.strokeStyle = colours.ground;
    pen.strokeText(word, left, top - 24);
    pen.fillStyle = colours.ink;
    pen.fillText(word, left, top - 24);
  }
}

function picture(token) {
  if (!pictures.has(token)) {
    const image = new Image();
    image.addEventListener("load", redraw);
    image.src = `/api/pictures/${map.codebook}/v${String(token).padStart(5, "0")}.jpg`;
    pictures.set(token, image);
  }
  return pictures.get(token);
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const [a, b] = toMap(x, y);
  view.scale = Math.min(400, Math.max(0.5, view.scale * factor));
  const [c, d] = toMap(x, y);
  view.x += a - c;
  view.y += b - d;
  redraw();
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY);
}, { passive: false });

const fingers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  moved = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  const now = [event.offsetX, event.offsetY];
  moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
  if (other) {
    const spread = (a) => Math.max(10, Math.hypot(a[0] - other[0], a[1] - other[1]));
    zoom(spread(now) / spread(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  } else {
    view.x -= (now[0] - before[0]) / (size * view.scale);
    view.y -= (now[1] - before[1]) / (size * view.scale);
    redraw();
  }
  fingers.set(event.pointerId, now);
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (event) => {
    fingers.delete(event.pointerId);
    if (kind === "pointerup" && moved < 6) choose(nearest(event.offsetX, event.offsetY));
  });
}

function nearest(x, y) {
  let [best, least] = [null, 40 * 40];
  for (const point of map.tokens) {
    const [a, b] = toScreen(point[1], point[2]);
    const far = (a - x) ** 2 + (b - y) ** 2;
    if (far < least) [best, least] = [point, far];
  }
  return best;
}

canvas.addEventListener("keydown", (event) => {
  const step = 60 / (size * view.scale);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key in moves) {
    event.preventDefault();
    view.x += moves[event.key][0];
    view.y += moves[event.key][1];
    redraw();
  } else if (event.key === "+" || event.key === "=") zoom(1.3);
  else if (event.key === "-") zoom(1 / 1.3);
});
document.getElementById("in").addEventListener("click", () => zoom(1.6));
document.getElementById("out").addEventListener("click", () => zoom(1 / 1.6));
document.getElementById("all").addEventListener("click", () => { Object.assign(view, { x: 0.5, y: 0.5, scale: 1 }); redraw(); });

async function choose(point) {
  if (!point) return;
  chosen = point[0];
  redraw();
  const place = document.getElementById("token");
  try {
    const token = await ask(`/api/tokens/${point[0]}`);
    const reel = element("div", "", { class: "reel small" });
    for (const clip of token.clips) {
      const figure = element("figure");
      const link = element("a", "", { href: `/video/${clip.video}?t=${clip.start.toFixed(1)}` });
      if (clip.thumbnail) link.append(element("img", "", { src: clip.thumbnail, alt: "", loading: "lazy" }));
      link.append(element("figcaption", `${clip.name} ${clock(clip.start)}`, { dir: "auto" }));
      figure.append(link);
      reel.append(figure);
    }
    place.replaceChildren(element("h2", token.name ? `${token.token}: ${token.name}` : token.token), element("p", `${point[3]} clips that were learned from. Shown now:`, { class: "small soft" }), reel);
  } catch (error) {
    place.replaceChildren(element("p", error.message, { class: "notice" }));
  }
}

/** The nodes under a prefix of base-k digits, each with its clips and its most telling names; opened when they are asked for. */
function branches(tokens, level, list) {
  const groups = new Map();
  for (const point of tokens) {
    const digit = Math.floor(point[0] / map.k ** (map.depth - 1 - level)) % map.k;
    if (!groups.has(digit)) groups.set(digit, []);
    groups.get(digit).push(point);
  }
  for (const [digit, points] of groups) {
    const item = element("li");
    const count = points.reduce((sum, point) => sum + point[3], 0);
    const names = [...new Set([...points].sort((a, b) => b[3] - a[3]).map((p) => p[4]).filter(Boolean))].slice(0, 2).join("; ");
    const button = element("button", `${digit}: ${count} clips${names ? `, ${names}` : ""}`, { type: "button", dir: "auto" });
    const last = level === map.depth - 1;
    if (!last) button.setAttribute("aria-expanded", "false");
    button.style.borderInlineStartColor = points[0][5];
    button.addEventListener("click", () => {
      show(points);
      if (last) return choose(points[0]);
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) item.lastElementChild.remove();
      else {
        const inner = element("ul", "", { class: "tree" });
        branches(points, level + 1, inner);
        item.append(inner);
      }
    });
    item.append(button);
    list.append(item);
  }
}

/** Moves the map to some tokens. */
function show(points) {
  const [xs, ys] = [points.map((p) => p[1]), points.map((p) => p[2])];
  const spread = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 0.02);
  Object.assign(view, { x: (Math.max(...xs) + Math.min(...xs)) / 2, y: (Math.max(...ys) + Math.min(...ys)) / 2, scale: Math.min(points.length > 1 ? 20 : 8, 0.8 / spread) });
  redraw();
}

addEventListener("resize", fit);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", fit);
map = await ask("/api/atlas");
map.words.sort((a, b) => b[3] - a[3]);
for (const point of map.tokens) point.push(hue(point[0]));
const inks = new Map(map.tokens.map((point) => [point[5], 0])); // a colour for each branch
for (const css of inks.keys()) inks.set(css, ink(css));
map.xs = Float32Array.from(map.tokens, (point) => point[1]);
map.ys = Float32Array.from(map.tokens, (point) => point[2]);
map.inks = Uint32Array.from(map.tokens, (point) => inks.get(point[5]));
Object.assign(seen, { index: new Int32Array(map.tokens.length), x: new Float32Array(map.tokens.length), y: new Float32Array(map.tokens.length) });
branches(map.tokens, 0, document.getElementById("tree"));
fit();
canvas.dataset.ready = "yes";
