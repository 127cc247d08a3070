"""Speed of the atlas with 20,000 points: the time of each frame while one pans and zooms, in Debian's Chromium.

    python tests/benchmarks/atlas_speed.py [STORE]        demo-store where none is named (`make demo` makes it)

The points are made up and put in the place of the store's own. Two times are told for each frame: what the script takes to
draw it (the page's own work), and from one frame to the next, which the load of the machine and drawing without a graphics
card lengthen; 60 frames a second are 16.7 ms.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
POINTS, WORDS, K, DEPTH = 20_000, 400, 12, 4
FRAMES = 120
MEASURE = """
async (frames) => {
  const map = document.getElementById("map");
  const box = map.getBoundingClientRect();
  const at = (kind, x, y, more = {}) => map.dispatchEvent(new PointerEvent(kind, { pointerId: 1, bubbles: true, clientX: box.left + x, clientY: box.top + y, ...more }));
  map.setPointerCapture = () => {};
  const drawn = [], between = [];
  const real = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => real((now) => {
    const began = performance.now();
    draw(now);
    drawn.push(performance.now() - began);
  });
  const next = () => new Promise((done) => real(done));
  let before = await next();
  at("pointerdown", 200, 200);
  for (let frame = 0; frame < frames; frame++) {
    if (frame % 2) at("pointermove", 200 + frame % 60, 200 + frame % 40);
    else map.dispatchEvent(new WheelEvent("wheel", { deltaY: frame < frames / 2 ? -40 : 40, clientX: box.left + 300, clientY: box.top + 200, cancelable: true }));
    const now = await next();
    between.push(now - before);
    before = now;
  }
  at("pointercancel", 200, 200);
  return { drawn, between };
}
"""


def made_up() -> dict:
    """A map of 20,000 tokens and the words on it."""
    drawing = random.Random(0)
    tokens = [
        [n, drawing.random(), drawing.random(), drawing.randint(1, 200), f"word{n % WORDS}"]
        for n in range(POINTS)
    ]
    words = [[f"word{n}", drawing.random(), drawing.random(), drawing.randint(1, 500)] for n in range(WORDS)]
    return {"codebook": "none", "k": K, "depth": DEPTH, "tokens": tokens, "words": words}


def told(name: str, milliseconds: list[float]) -> str:
    ordered = sorted(milliseconds)
    return f"{name}: median {statistics.median(ordered):.1f} ms, 95th percentile {ordered[int(0.95 * len(ordered))]:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, nargs="?", default=Path("demo-store"))
    store = parser.parse_args().store
    command = [sys.executable, "-m", "flows", "serve", "--store", str(store), "--port", "0", "--read-only"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        url = server.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            answer = json.dumps(made_up())
            page.route(
                "**/api/atlas", lambda route: route.fulfill(content_type="application/json", body=answer)
            )
            page.goto(f"{url}atlas")
            page.wait_for_selector("#map[data-ready]")
            found = page.evaluate(MEASURE, FRAMES)
            print(
                f"{POINTS:,} points, {FRAMES} frames, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            )
            print(told("drawing a frame", found["drawn"]))
            print(told("from frame to frame", found["between"]))
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
