"""The heads of fine-tuning on the report: figures, what is taken for what, a map of the moments, and each answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from multimodal.catalogue import Video
from multimodal.finetuning.judged import labelled_tokens
from multimodal.finetuning.options import LAYER
from multimodal.finetuning.table import in_a_line
from multimodal.inference.heads import head_names, read_head
from multimodal.inference.trained import Trained, model_digest
from multimodal.scoring.layers import by_layer
from multimodal.store import Store
from multimodal.web.charts import FigureChart, layer_chart

PROBED = "How often logistic regression tells the label from a layer of the model as pretraining left it."
MOST_SHOWN = 20
"""Answers of a head on the page at most."""


@dataclasses.dataclass(frozen=True)
class TaskView:
    """A head: its ``line`` of figures, its ``confusion`` with a row for each class, the ``answers`` that it was judged by, as
    ``heads/NAME.json`` has them, a ``chart`` of what each layer knows of its labels where that was asked, and of visual tokens
    the label that these moments have most often while they are shown."""

    name: str
    kind: str
    line: str
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    answers: tuple[Mapping[str, Any], ...]
    chart: FigureChart | None
    token_labels: Mapping[int, str]

    @property
    def shown(self) -> tuple[Mapping[str, Any], ...]:
        """Wrong ones first: they say where labels or the head are to be mended."""
        return tuple(sorted(self.answers, key=lambda answer: answer["right"])[:MOST_SHOWN])

    @property
    def mapped(self) -> list[Mapping[str, Any]]:
        """The answers that have a place on the map."""
        return [answer for answer in self.answers if answer["place"]]

    def hue(self, name: str) -> int:
        """Of a class in degrees; the classes are evenly apart."""
        return 360 * self.classes.index(name) // len(self.classes) if name in self.classes else 0

    @property
    def token_hues(self) -> Mapping[int, int]:
        """Of the visual tokens that have a label."""
        return {token: self.hue(label) for token, label in self.token_labels.items()}


def task_views(store: Store, trained: Trained, videos: Mapping[str, Video]) -> list[TaskView]:
    """The heads of this model by name. ``videos`` by digest: answers about others are left out."""
    digest, found = model_digest(trained.folder), []
    for name in head_names(store):
        about = read_head(store, name)
        if about["model_sha256"] != digest:
            continue
        answers = tuple(answer for answer in about.get("answers", ()) if answer["video"] in videos)
        layers = by_layer(about["figures"], lambda layer: f"{LAYER}{layer}")
        found.append(
            TaskView(
                *(name, about["kind"], in_a_line(about["figures"]), tuple(about["notes"])),
                *(tuple(about["classes"]), tuple(map(tuple, about.get("confusion", ()))), answers),
                chart=layer_chart("What each layer knows of the labels", PROBED, layers) if layers else None,
                token_labels=labelled_tokens(store, trained, videos, about["classes"], answers),
            )
        )
    return found
