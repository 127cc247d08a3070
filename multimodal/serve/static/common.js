// Shared by the pages.

const running = new WeakMap();

/** Steps an image through other pictures; `null` puts its own back. */
export function still(image, addresses) {
  if (!image) return;
  const before = running.get(image);
  if (before) {
    clearInterval(before.timer);
    image.src = before.source;
    running.delete(image);
  }
  if (!addresses?.length) return;
  let place = 0;
  const timer = setInterval(() => { image.src = addresses[place++ % addresses.length]; }, 600);
  running.set(image, { timer, source: image.src });
}

/** An element with a text and attributes. */
export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Seconds as a person reads them: 75.25 is 1:15.2. */
export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

/** A JSON document, or an error with the line that says why. */
export async function ask(address, options) {
  const answer = await fetch(address, options);
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.detail);
  return document;
}
