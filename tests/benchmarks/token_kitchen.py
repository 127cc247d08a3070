"""The drawn kitchen at the level of tokens: its recipes and sentences, and for pictures the visual tokens that they would give.

As `tests/samples/make_corpus.py --videos 344 --actions 12 --things 12`, without drawing: each step is shown in two or three
clips, by one of the five tokens of its (action, thing); half of them are the one that the video's look prefers, one in 200 is
of another pair. On the drawn corpus a token names its action and thing in 0.995 of the clips (docs/results.md).
"""

import json
import sys
from pathlib import Path

import numpy as np

from multimodal.catalogue import Catalogue
from multimodal.intake.imports import import_files
from multimodal.intake.options import ImportOptions
from multimodal.known_world.corpus import TOKENS, TRANSCRIPTS, open_tables
from multimodal.library import usable
from multimodal.store import Store
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook
from vision.clips import CLIP_SECONDS

sys.path.insert(0, str(Path(__file__).parent.parent / "samples"))
from actions import ACTIONS
from recipes import recipes
from things import THINGS

VIDEOS = 344
SIZE = 12
VARIANTS = 5
PREFERRED, CONFUSED = 0.5, 0.005
TRUTH = "truth.json"


def quiet(*_: object) -> None:
    pass


def write_kitchen(folder: Path, seed: int = 0) -> list[dict]:
    """Writes the tables of an import into a folder; returns the videos as a truth file has them, by their names."""
    actions, things = list(ACTIONS)[:SIZE], list(THINGS)[:SIZE]
    pairs = [(action, thing) for action in actions for thing in things]
    videos = []
    with open_tables(folder) as (sentences, clips):
        for number, recipe in enumerate(recipes(actions, things, VIDEOS, seed)):
            random = np.random.default_rng((seed, number))
            name, clip, steps, look = f"kitchen-{number:03d}", 0, [], random.integers(VARIANTS)
            for step in recipe.steps:
                count = int(random.integers(2, 4))
                start, end = clip * CLIP_SECONDS, (clip + count) * CLIP_SECONDS
                sentences.writerow((name, start, end, step.sentence))
                steps.append({"start": start, "end": end, "action": step.action, "thing": step.thing})
                for place in range(clip, clip + count):
                    pair = pairs.index((step.action, step.thing))
                    if random.random() < CONFUSED:
                        pair = int(random.integers(len(pairs)))
                    variant = look if random.random() < PREFERRED else random.integers(VARIANTS)
                    token = pair * VARIANTS + int(variant)
                    clips.writerow((name, place * CLIP_SECONDS, (place + 1) * CLIP_SECONDS, token))
                clip += count
            videos.append({"file": name, "split": recipe.split, "steps": steps})
    return videos


def ingest_kitchen(folder: Path, store: Store, catalogue: Catalogue) -> str:
    """Makes and imports the corpus, and writes its truth file; the digest of its codebook."""
    planned = {video["file"]: video for video in write_kitchen(folder)}
    import_files(store, catalogue, [folder / TOKENS, folder / TRANSCRIPTS], ImportOptions(), quiet)
    videos = usable(catalogue)
    truth = {
        "actions": list(ACTIONS)[:SIZE],
        "things": list(THINGS)[:SIZE],
        "videos": [planned[v.name] | {"sha256": v.video} for v in videos],
    }
    (folder / TRUTH).write_text(json.dumps(truth))
    held_out = [v for v in videos if planned[v.name]["split"] == "heldout"]
    learned = [v for v in videos if planned[v.name]["split"] != "heldout"]
    codebook = fit_codebook(store, learned, held_out, TokenOptions(), quiet)
    encode_videos(store, codebook, videos, quiet)
    return codebook
