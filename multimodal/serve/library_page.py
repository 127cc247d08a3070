"""The library page, each video with its state and reason, and the model page, the report as people read it."""

from __future__ import annotations

import datetime
import json
from typing import Any

from multimodal import locks, progress
from multimodal.answers.quality import Evaluation, Kind
from multimodal.catalogue import STATES, Catalogue, State
from multimodal.codebook_in_use import out_of_date, remedy
from multimodal.intake import speech_choice
from multimodal.library import usable
from multimodal.serve import documents, searching
from multimodal.serve.live import Snapshot
from multimodal.serve.problems import without_paths
from multimodal.store import Store
from multimodal.web import charts, results
from multimodal.web.wording import ANSWERS, what_to_trust
from speech.checkpoints import CHECKPOINTS
from speech.languages import LANGUAGES

MOST_RUNS = 10
MOST_ROWS = 2000


def library(
    store: Store, catalogue: Catalogue, snapshot: Snapshot, state: State | None, name: str | None
) -> dict[str, Any]:
    """The library page's values; ``state`` and ``name`` choose among the videos."""
    videos = list(snapshot.videos.values())
    wanted = (name or "").casefold()
    shown = [v for v in videos if state in (None, v.state) and wanted in v.name.casefold()]
    folders = searching.folders(videos)
    old = out_of_date(catalogue)
    unsearched = sum(v.state in ("done", "partial") and v.video not in snapshot.searched for v in videos)
    return {
        "rows": [
            documents.video_row(v, store.root)
            | {"folder": folders.get(v.video), "has_file": bool(v.path), "searched": v.video in snapshot.searched, "ingested": _day(store, v),
               "heard_by": speech_choice.choice(store, v.video)}
            for v in shown[:MOST_ROWS]
        ],
        "hidden": max(0, len(shown) - MOST_ROWS), "name": name, "state": state,
        "counts": [(s, sum(v.state == s for v in videos)) for s in STATES], "total": len(videos),
        "seconds": sum(v.seconds or 0.0 for v in videos if v.state in ("done", "partial")),
        "unsearched": unsearched, "by_words": snapshot.by_words, "remedy": remedy(old) if old else None,
        "run": run_under_way(store, catalogue), "whispers": list(CHECKPOINTS), "languages": sorted(LANGUAGES),
        "runs": [{k: run[k] for k in ("flow", "started", "ended", "outcome")} for run in catalogue.runs()[::-1][:MOST_RUNS]],
    }  # fmt: skip


def _day(store: Store, video: Any) -> str:
    second = searching.ingested(store, video)
    return datetime.datetime.fromtimestamp(second).strftime("%Y-%m-%d") if second else ""


def run_under_way(store: Store, catalogue: Catalogue) -> dict[str, Any] | None:
    """The process that writes to the store now, its ``flow``, its ``stage`` and how far that is; ``None`` where none does."""
    process = locks.holder(store.root / locks.NAME)
    if process is None:
        return None
    flows = catalogue.runs()[-1:]
    flow = flows[0]["flow"] if flows and not flows[0]["ended"] else None
    stage, said = progress.told(store.root, process) or (None, "")
    return {"process": process, "flow": flow, "stage": stage, "said": without_paths(said, store.root)}


def model(store: Store, catalogue: Catalogue, snapshot: Snapshot) -> dict[str, Any]:
    """The model page's values; ``model`` is ``None`` where the store has none."""
    if snapshot.by_words:
        return {"model": None}
    trained, evaluation = snapshot.opened.trained, Evaluation.read(store, catalogue, snapshot.opened.trained)
    figures = results.read_evaluation(store, catalogue) or {}
    qualities: dict[Kind, Any] = {kind: evaluation.quality(kind) for kind in ANSWERS}
    used = usable(catalogue)
    return {
        "model": trained.name, "trust": what_to_trust(qualities, evaluation),
        "qualities": [(ANSWERS[kind], quality) for kind, quality in qualities.items()],
        "results": results.results_by_task(figures), "worth": results.worth(figures),
        "no_figures": results.reason_for_no_figures(figures or None, used, 0),
        "table": "\n".join(results.figures_table(figures)) if figures else "",
        "charts": charts.figure_charts(figures),
        "losses": charts.loss_charts(charts.read_metrics(store.model(trained.name) / "metrics.jsonl")),
        "chart_size": charts, "card": _card(snapshot), "has_captioner": catalogue.current("captioner") is not None,
        "first": next((v.name for v in used if v.clips), ""),
    }  # fmt: skip


def _card(snapshot: Snapshot) -> str:
    """The model card as its author wrote it, without paths; empty where there is none."""
    folder = snapshot.opened.trained.folder
    for name in ("README.md", "card.json"):
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8")
            text = json.dumps(json.loads(text), indent=1) if name == "card.json" else text
            return "\n".join(without_paths(line, snapshot.opened.store.root) for line in text.splitlines())
    return ""
