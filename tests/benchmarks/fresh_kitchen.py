"""More videos of the sample corpus' own kitchen, to judge a model of it by: `python tests/benchmarks/fresh_kitchen.py OUT`.

26 videos that neither the codebook nor a model learned from, by the recipe of the 6 that are held out: the same ring of
steps, other starts, looks and sentences; captions for voices. They join a store as videos that came later:

    cp -r demo-store judged
    videobert ingest OUT --captions --truth OUT/truth.json --store judged
    videobert codebook --store judged
    python tests/benchmarks/joint_options.py judged --fresh OUT/truth.json --only default

OUT/truth.json names the sample corpus' own videos too, with their split.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from multimodal.machine import cores

sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))
from make_corpus import Options, make_video
from recipes import recipes

SAMPLES = Path(__file__).parents[1] / "samples"
MADE = 136
"""The videos of a corpus whose recipes are taken: every fourth is held out."""


def main(out: Path) -> None:
    truth = json.loads((SAMPLES / "truth.json").read_text())
    options = Options(videos=MADE, voices="captions")
    assert options.seed == truth["options"]["seed"], "the ring follows from the seed"
    # A number sets the look: those of the sample corpus are left out.
    planned = [
        (number, recipe)
        for number, recipe in enumerate(recipes(truth["actions"], truth["things"], MADE, options.seed))
        if recipe.split == "heldout" and number >= len(truth["videos"])
    ]
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(cores()) as pool:
        made = list(pool.map(partial(make_video, options=options, out=out, preset="ultrafast"), planned))
    truth["videos"] += made
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    print(f"{len(made)} videos, {sum(video['seconds'] for video in made):.0f} s, in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
