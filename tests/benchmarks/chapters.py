"""Chapters: F1 of their boundaries within 3 s, each way of cutting beside the others.

    python tests/benchmarks/chapters.py                    # the known world
    python tests/benchmarks/chapters.py --store STORE      # videos of a store, joined; its model, where it has one

Videos are joined at random, five (a store's: three) at a time; the true boundaries are the places where one ends and the next
begins. Known world: 100 held-out videos, a small network of random weights for each of two pair tasks. A store: its videos of
20 s and more, of each the first two minutes at most; where none is held out the model has seen them.

`even` cuts in as many equal parts as there are. `TextTiling` (Hearst 1997) compares the content words of the eight moments before and after
each gap. `change points` is the optimal partition of the clips' features (one-hot visual tokens where there are none) under a
penalty a change point, of which the best of a grid is shown: it is given what the others have to guess.
"""

import argparse
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import known_world
import numpy as np
import systems

from multimodal.answers import cohesion
from multimodal.answers.chapters import Cohesion, chapters
from multimodal.answers.session import open_trained
from multimodal.answers.token_names import content_words
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import Trained, load_trained
from multimodal.library import read_features, read_imported_tokens, read_material, usable
from multimodal.segments import Segment
from multimodal.store import Store
from multimodal.systems import system
from multimodal.tokens import train_and_held_out
from multimodal.training.pretraining import pretrain
from vision.clips import CLIP_SECONDS

WITHIN = 3.0
LONGEST, SHORTEST = 120.0, 20.0
PENALTIES = (0.5, 1, 2, 4, 8, 16, 32, 64, 128)
AROUND = 8
"""Moments on each side of a gap that TextTiling compares."""
APART = 15.0


@dataclasses.dataclass(frozen=True)
class Joined:
    """Videos one after the other: their moments on one timeline, the features and starts of all clips, the true boundaries."""

    moments: list[Segment]
    values: np.ndarray
    starts: np.ndarray
    seconds: float
    true: list[float]


def join(parts: Sequence[tuple[list[Segment], np.ndarray, np.ndarray, float]]) -> Joined:
    moments, values, starts, true, now, clips = [], [], [], [], 0.0, 0
    for own, its_values, its_starts, seconds in parts:
        true += [now] if now else []
        for m in own:
            moved = tuple(clip + clips for clip in m.clips)
            moments.append(dataclasses.replace(m, start=m.start + now, end=m.end + now, clips=moved))
        values.append(its_values)
        starts.append(its_starts + now)
        now, clips = now + seconds, clips + len(its_starts)
    return Joined(moments, np.concatenate(values), np.concatenate(starts), now, true)


def change_points(values: np.ndarray, penalty: float) -> list[int]:
    """The optimal partition of rows (Jackson et al. 2005) by the squares around each part's mean; ``penalty`` a change point in
    noise variances, which neighbouring rows tell, times the logarithm of the rows."""
    unit = values.astype(np.float64) / np.maximum(
        np.linalg.norm(values.astype(np.float64), axis=-1, keepdims=True), 1e-12
    )
    n = len(unit)
    sums = np.concatenate([np.zeros((1, unit.shape[1])), unit.cumsum(0)])
    squares = np.concatenate([[0.0], (unit**2).sum(-1).cumsum()])
    cost = penalty * np.log(n) * ((np.diff(unit, axis=0) ** 2).sum(-1).mean() / 2)
    best, last = np.full(n + 1, np.inf), np.zeros(n + 1, int)
    best[0] = -cost
    for end in range(1, n + 1):
        begin = np.arange(end)
        within = squares[end] - squares[begin] - ((sums[end] - sums[begin]) ** 2).sum(-1) / (end - begin)
        total = best[:end] + within + cost
        last[end] = int(total.argmin())
        best[end] = total[last[end]]
    found, end = [], n
    while last[end]:
        end = int(last[end])
        found.append(end)
    return found[::-1]


def matched(found: Sequence[float], true: Sequence[float]) -> int:
    """True boundaries that a found one lies within 3 s of, each found one counted once."""
    left, count = sorted(found), 0
    for boundary in sorted(true):
        near = [f for f in left if abs(f - boundary) <= WITHIN]
        if near:
            left.remove(min(near, key=lambda f: abs(f - boundary)))
            count += 1
    return count


def f1(cut: Callable[[Joined], list[float]], all_: Sequence[Joined]) -> tuple[float, float, float]:
    """F1, precision and recall over all videos together."""
    right = found = true = 0
    for one in all_:
        cuts = cut(one)
        right, found, true = right + matched(cuts, one.true), found + len(cuts), true + len(one.true)
    precision, recall = right / max(found, 1), right / max(true, 1)
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall


def text_tiling(one: Joined) -> list[float]:
    """The gaps whose cosine lies below the peaks on both sides by more than a deviation above the mean depth, the deepest first,
    none nearer than 15 s to another."""
    counts = [Counter(content_words(m.text)) for m in one.moments]
    alike = []
    for gap in range(1, len(counts)):
        before, after = (
            sum(part, Counter()) for part in (counts[max(0, gap - AROUND) : gap], counts[gap : gap + AROUND])
        )
        norm = math.sqrt(sum(n * n for n in before.values()) * sum(n * n for n in after.values()))
        alike.append(sum(n * after[word] for word, n in before.items()) / norm if norm else 1.0)
    depths = np.array([_peak(alike[i::-1]) + _peak(alike[i:]) - 2 * value for i, value in enumerate(alike)])
    cuts: list[float] = []
    for gap in np.argsort(-depths, kind="stable"):
        start = one.moments[gap + 1].start
        far = all(abs(start - other) >= APART for other in (0.0, one.seconds, *cuts))
        if far and depths[gap] > depths.mean() + depths.std():
            cuts.append(start)
    return cuts


def _peak(values: Sequence[float]) -> float:
    """The height to which values climb from the first on."""
    top = values[0]
    for value in values:
        if value < top:
            break
        top = value
    return top


def cut_by(of: Cohesion, one: Joined) -> list[float]:
    return [c.start for c in chapters(one.moments, one.seconds, cohesion_of=of)[1:]]


def with_features(one: Joined) -> list[float]:
    return cut_by(lambda moments: cohesion.plain(moments, one.values), one)


def report(all_: Sequence[Joined], models: dict[str, Trained], featured: bool) -> None:
    print(
        f"{len(all_)} joined videos of {np.mean([o.seconds for o in all_]):.0f} s, {sum(len(o.true) for o in all_)} boundaries"
    )
    print(f"{'':44}    F1  precision  recall")

    def show(name: str, cut: Callable[[Joined], list[float]]) -> None:
        print(f"{name:<44}{' '.join(f'{value:8.3f}' for value in f1(cut, all_))}", flush=True)

    show("even", lambda one: [one.seconds * n / (len(one.true) + 1) for n in range(1, len(one.true) + 1)])
    show("words (TextTiling)", text_tiling)
    by_penalty = {
        p: partial(lambda p, one: [float(one.starts[i]) for i in change_points(one.values, p)], p)
        for p in PENALTIES
    }
    best = max(PENALTIES, key=lambda p: f1(by_penalty[p], all_)[0])
    show(f"change points of features, penalty {best:g}", by_penalty[best])
    show("words", partial(cut_by, cohesion.of_words))
    show("visual tokens", partial(cut_by, cohesion.of_tokens))
    show("words and visual tokens", partial(cut_by, cohesion.plain))
    if featured:
        show("features", lambda one: cut_by(lambda m: cohesion.of_features(m, one.values), one))
        show("words, visual tokens and features", with_features)
    for name, trained in models.items():
        show(f"{name}: embeddings", partial(cut_by, partial(cohesion.of_embeddings, trained)))
        alone = dataclasses.replace(trained, has_alignment=False, has_next_segment=False)
        for asked, which in (("without pairs", alone), ("as --by model asks", trained)):

            def by_model(one: Joined, which: Trained = which) -> list[float]:
                values = one.values if featured else None
                return cut_by(lambda m: cohesion.by_model(which, m, values), one)

            show(f"{name}: {asked}", by_model)


def part(
    store: Store, codebook: str, video: Video, visual: int
) -> tuple[list[Segment], np.ndarray, np.ndarray, float]:
    """The first two minutes of a video."""
    material = read_material(store, codebook, video)
    if read_imported_tokens(store, video) is None:
        values, starts = read_features(store, video)
    else:  # there are no features
        values, starts = np.eye(visual)[material.tokens], material.starts
    seconds = min(
        LONGEST, max([float(starts[-1]) + CLIP_SECONDS if len(starts) else 0.0, video.seconds or 0.0])
    )
    kept = [m for m in material.moments() if m.end <= seconds]
    within = starts + CLIP_SECONDS <= seconds
    return kept, values[within], starts[within], seconds


def codes(store: Store, codebook: str, videos: Sequence[Video]) -> int:
    """One more than the largest visual token that is shown."""
    return 1 + max(int(read_material(store, codebook, video).tokens.max()) for video in videos)


def joined_at_random(parts: Sequence, together: int, count: int, seed: int = 0) -> list[Joined]:
    random = np.random.default_rng(seed)
    return [
        join([parts[i] for i in random.choice(len(parts), together, replace=False)]) for _ in range(count)
    ]


def world(given: argparse.Namespace) -> None:
    with systems.kept(given.keep) as (folder, store, catalogue):
        codebook, videos = systems.world_corpus(folder, store, catalogue, given.videos), usable(catalogue)
        models = {}
        for name in given.systems if given.steps else ():
            settings = known_world.Settings(size="small", text_start=known_world.NOTHING, system=name)
            training = dataclasses.replace(settings.training, most_steps=given.steps)
            options = known_world.narrow(settings, training, 4, 128)
            assert options.system.pair_task == system(name).pair_task
            made, _ = pretrain(store, videos, codebook, options, "cpu", known_world.quiet)
            models[name] = load_trained(store, made, codebook, "cpu")
        _, held_out = train_and_held_out(store, videos, codebook)
        visual = codes(store, codebook, held_out)
        parts = [part(store, codebook, video, visual) for video in held_out]
    report(joined_at_random(parts, 5, 40), models, featured=False)


def stored(folder: Path) -> None:
    store = Store(folder, create=False)
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        has_model = catalogue.current("model") is not None
        models = {"model": open_trained(store, catalogue, "cpu")} if has_model else {}
        codebook = models["model"].codebook if has_model else catalogue.current("codebook")
        videos = [v for v in usable(catalogue) if v.clips and v.sentences and (v.seconds or 0) >= SHORTEST]
    visual = codes(store, codebook, videos)
    parts = [part(store, codebook, video, visual) for video in videos]
    print(f"{len(parts)} videos: {', '.join(v.name for v in videos)}")
    report(joined_at_random(parts, 3, 40), models, featured=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", default=["videobert", "bert"])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--steps", type=int, default=1000, help="of training; 0 for no model")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    stored(given.store) if given.store else world(given)


if __name__ == "__main__":
    main()
