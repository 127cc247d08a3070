"""The flow `evaluate`: what the current model learned, on the videos held out, and the report that shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.answers.session import open_captioner, open_trained
from multimodal.captioning.generation import describer, nearest_captions
from multimodal.captioning.trained import TrainedCaptioner
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.cloze import fill_blanks
from multimodal.inference.trained import Trained
from multimodal.library import Material, read_material, usable
from multimodal.scoring.metrics import Describe, evaluate
from multimodal.scoring.references import Asked, asked, match, read_references
from multimodal.scoring.truth import read_truth
from multimodal.scoring.words import METEOR_JAR, PTB_JAR, missing
from multimodal.segments import Segment
from multimodal.store import InputError, Store, canonical_json, recipe, write_whole
from multimodal.tokens import train_and_held_out
from multimodal.vocabulary import TEMPLATE
from multimodal.web.report import write_report

VERSION = 4


@task(name="figures", cache_policy=NO_CACHE, persist_result=False)
def figures(settings: Settings) -> Path:
    """The file of the figures; made once for a model, its videos and a truth."""
    store = Store(settings.store)
    truth = read_truth(settings.truth) if settings.truth else None
    with Catalogue(store.catalogue) as catalogue, progress.stage("evaluate") as report:
        trained, videos = open_trained(store, catalogue, settings.torch_device), usable(catalogue)
        learned, held_out = train_and_held_out(store, videos, trained.codebook)
        captioner = open_captioner(store, catalogue, trained)
        references = _references(settings.references, store, trained, videos, learned)
        made = recipe(
            version=VERSION,
            truth=truth and [truth.actions, truth.things, truth.steps],
            references=references,
            captioner=captioner and captioner.name,
            java=[missing(PTB_JAR), missing(METEOR_JAR)],
        )
        path = store.evaluation(f"{trained.name}.{trained.folder.name}.{made}")
        if not path.exists():
            parts = [
                [read_material(store, trained.codebook, v) for v in part] for part in (learned, held_out)
            ]
            others = {a.moment.video for a in references} - {v.video for v in held_out}
            judged = parts[1] + [
                read_material(store, trained.codebook, v) for v in videos if v.video in others
            ]
            ways = _ways(store, trained, captioner, parts[0], judged, bool(references))
            first = next(iter(ways))
            found = (
                evaluate(
                    trained, *parts, truth, report,
                    references=references, describe=ways.pop(first), beside=ways,
                )
                if held_out or references
                else {}
            )  # fmt: skip
            write_whole(
                path, canonical_json({name: dataclasses.asdict(f) for name, f in found.items()}).encode()
            )
        catalogue.set_current("evaluation", path.name)
    return path


def _references(
    file: Path | None, store: Store, trained: Trained, videos: Sequence[Video], learned: Sequence[Video]
) -> list[Asked]:
    """The moments that people wrote about, of videos that the model did not learn from; what is left out is said.

    Raises :class:`InputError` where no video of the store is meant.
    """
    if file is None:
        return []
    matched = match(read_references(file), videos)
    if not matched.by_video:
        raise InputError(
            f"--references {file}: none of its {len(matched.unknown)} videos is in the store, such as "
            f"{matched.unknown[0]!r}; name the video files as it does"
        )
    seen = {v.video for v in learned}
    judged = [v for v in videos if v.video in matched.by_video and v.video not in seen]
    materials = [read_material(store, trained.codebook, v) for v in judged]
    found = [a for m in materials for a in asked(m, matched.by_video[m.video.video])]
    sentences = sum(len(matched.by_video[v.video]) for v in judged)
    used = sum(len(a.sentences) for a in found)
    progress.say(
        f"references: {used} sentences about {len(found)} moments of {len({a.moment.video for a in found})} videos; left out: "
        f"{sentences - used} sentences where nothing is shown, {len(matched.by_video) - len(judged)} videos that the model "
        f"learned from, {len(matched.unknown)} that are not in the store"
    )
    return found


def _ways(
    store: Store,
    trained: Trained,
    captioner: TrainedCaptioner | None,
    learned: Sequence[Material],
    judged: Sequence[Material],
    by_people: bool,
) -> dict[str, Describe]:
    """The ways to caption, that of `videobert caption` first: the captioner where there is one, the template, the words
    of the nearest moment that was learned from. ``by_people``: judged by what people wrote."""
    spoken = [s for m in learned for s in m.spoken()]
    ways = {
        "template": _once(lambda moments: [fill_blanks(trained, TEMPLATE, tokens)[0] for tokens in moments]),
        "nearest_neighbour": _once(
            lambda moments: [text for text, _ in nearest_captions(trained, spoken, moments)]
        ),
    }
    if captioner is None:
        return ways
    during = by_people and bool(captioner.references)
    return {"captioner": describer(store, trained, captioner, judged, during=during)} | ways


def _once(describe: Callable[[Sequence[tuple[int, ...]]], Sequence[str]]) -> Describe:
    """The captions of moments by a way that reads their visual tokens alone; the same tokens are described once."""

    def each(moments: Sequence[Segment]) -> list[str]:
        different = list(dict.fromkeys(m.tokens for m in moments))
        captions = dict(zip(different, describe(different), strict=True))
        return [captions[m.tokens] for m in moments]

    return each


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report_page(settings: Settings) -> Path:
    """The page of the store: what is in it, what the model learned, sample answers."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue, progress.stage("report") as report:
        return write_report(store, catalogue, settings.torch_device, report)


@flow(name="evaluate")
def evaluate_model(settings: Settings = Settings()) -> Path:
    """Makes the figures and the report; returns the report's path."""
    store = Store(settings.store)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        figures(settings)
        return report_page(settings)
