"""The report: one page of HTML with the contents of a store, the figures of its model and sample answers."""

from __future__ import annotations

import dataclasses
import datetime
import io
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from multimodal.answers.display import hit_evidence, html_environment
from multimodal.answers.opened_store import OpenedStore
from multimodal.answers.session import open_index
from multimodal.answers.token_names import read_token_names
from multimodal.catalogue import STATES, Catalogue, Video
from multimodal.inference.heads import head_names, read_head
from multimodal.inference.trained import Trained, training_steps
from multimodal.library import read_material, usable
from multimodal.pictures import data_url, read_frames
from multimodal.progress import Report
from multimodal.store import Store, recipe, write_artefact
from multimodal.sums import is_as_written
from multimodal.tokens import load_codebook, picture_path, train_and_held_out
from multimodal.vocabulary import visual_name
from multimodal.web import charts, results, samples
from multimodal.web.embedding_map import embedding_map
from multimodal.web.tasks import task_views
from multimodal.web.wording import ANSWERS, clock, spoken, what_to_trust
from vision.clips import CLIP_SECONDS

TEMPLATE = "report.html"
VERSION = 2
"""Of what a page shows of the same store; another one makes pages anew."""
MADE_FROM = "made-from"
"""The name of the page's <meta> that says what it was made from."""
SHOWN = ("settings", "codebook", "model", "captioner", "evaluation")
"""What the catalogue has in use of each kind."""
ATLAS_MOST = 256
"""Tokens in the atlas at most, the most frequent ones: more cannot be told apart on a page."""
ATLAS_HEIGHT = 0.62
"""Of the atlas's width."""
THUMBNAIL_SIDE = 80
THUMBNAIL_QUALITY = 70


@dataclasses.dataclass(frozen=True)
class AtlasTile:
    """A visual token on the atlas: ``x`` and ``y`` from 0 to 1, ``count`` clips of the training videos."""

    token: int
    count: int
    x: float
    y: float


def write_report(store: Store, catalogue: Catalogue, trained: Trained, report: Report) -> Path:
    """Writes ``report.html``, whole or not at all, and returns its path. One that was made from the same stays.

    Frames whose files moved away are missing and the page says so. Raises :class:`InputError` where the store has no
    model or no index yet.
    """
    used = usable(catalogue)
    made_from = _made_from(store, catalogue, trained)
    if _is_made_from(store.report, made_from):
        return store.report
    train_videos, held_out = train_and_held_out(store, used, trained.codebook)
    stages = 6
    report(0, stages, "searches")
    searches = samples.search_samples(open_index(store, catalogue, trained))
    report(1, stages, "captions")
    chosen = samples.choose_videos(used, held_out)
    materials = [read_material(store, trained.codebook, v) for v in chosen]
    opened = OpenedStore.of(store, catalogue, trained)
    captions = samples.caption_samples(opened, materials)
    report(2, stages, "next clips")
    forecasts = samples.forecast_samples(opened, materials)
    report(3, stages, "frames")
    times = [hit.frame for _, hits in searches for hit in hits] + [c.frame for c in captions]
    times += [t for f in forecasts for t in (f.now, *(h.frame for h in f.horizons)) if t]
    frames = read_frames(
        used, times, lambda done, of, name: report(3 + done / of, stages, f"frames of {name}")
    )
    report(4, stages, "atlas of the visual tokens")
    tiles, hidden = atlas(store, trained)
    expected = {t.token for f in forecasts for h in f.horizons for t in h.horizon.tokens}
    thumbnails = {t: thumbnail(store, trained.codebook, t) for t in expected | {tile.token for tile in tiles}}
    token_names = read_token_names(store, trained)
    in_one_space = embedding_map(trained, [tile.token for tile in tiles], token_names)
    report(5, stages, "page")
    figures = results.read_evaluation(store, catalogue)
    everyone = {video.video: video for video in catalogue.videos()}
    qualities = {kind: opened.evaluation.quality(kind) for kind in ANSWERS}
    page = _environment().get_template(TEMPLATE).render(
        made_from=(MADE_FROM, made_from),
        head=head(store, catalogue, trained, train_videos, held_out),
        results=results.results_by_task(figures or {}),
        worth=results.worth(figures or {}),
        figure_charts=charts.figure_charts(figures or {}),
        no_figures=results.reason_for_no_figures(figures, used, len(held_out)),
        qualities=[(ANSWERS[kind], quality) for kind, quality in qualities.items()],
        sure={kind: quality.above_chance for kind, quality in qualities.items()},
        trust=what_to_trust(qualities, opened.evaluation),
        searches=searches,
        captions=captions,
        forecasts=forecasts,
        frames=frames,
        thumbnails=thumbnails,
        token_names=token_names,
        in_one_space=in_one_space,
        tiles=tiles,
        hidden=hidden,
        tile_width=tile_width(len(tiles)),
        atlas_height=ATLAS_HEIGHT,
        loss_charts=charts.loss_charts(charts.read_metrics(store.model(trained.name) / "metrics.jsonl")),
        chart_size=charts,
        tasks=task_views(store, trained, everyone),
        videos_by_digest=everyone,
        videos=everyone.values(),
        by_digest={v.video: v for v in used},
        role={v.video: "training" for v in train_videos} | {v.video: "held out" for v in held_out},
    )  # fmt: skip
    path = write_artefact(store.report, page.encode("utf-8", "replace"))
    report(stages, stages, str(path))
    return path


def _made_from(store: Store, catalogue: Catalogue, trained: Trained) -> str:
    """The recipe of the page: all that it shows, by the names and digests of what it is read from."""
    videos, tokens = catalogue.videos(), range(trained.vocabulary.visual)
    return recipe(
        version=VERSION,
        videos=videos,
        files=[_stamp(Path(video.path)) if video.path else None for video in videos],
        current={kind: catalogue.current(kind) for kind in SHOWN},
        model=[trained.name, *training_steps(trained)],
        pictures=sum(picture_path(store, trained.codebook, token) is not None for token in tokens),
        heads={name: read_head(store, name) for name in head_names(store)},
        token_names=read_token_names(store, trained),
    )


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a video file, whose frames are on the page; ``None`` where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _is_made_from(page: Path, made_from: str) -> bool:
    """Whether the page is there, undamaged, and says that it was made from this."""
    try:
        return f'<meta name="{MADE_FROM}" content="{made_from}">'.encode() in page.read_bytes() and (
            is_as_written(page)
        )
    except OSError:
        return False


def head(
    store: Store, catalogue: Catalogue, trained: Trained, train_videos: list[Video], held_out: list[Video]
) -> dict[str, Any]:
    """The numbers at the head of the page."""
    videos, used = catalogue.videos(), usable(catalogue)
    codebook = load_codebook(store, trained.codebook)
    step, steps = training_steps(trained)
    return {
        "videos": len(videos),
        "used": len(used),
        "states": {s: sum(v.state == s for v in videos) for s in STATES},
        "seconds": math.fsum(v.seconds or 0 for v in used),
        "clips": sum(v.clips or 0 for v in used),
        "clip_seconds": CLIP_SECONDS,
        "sentences": sum(v.sentences or 0 for v in used),
        "tokens_used": int(codebook.used_.sum()),
        "k": codebook.options.k,
        "depth": codebook.options.depth,
        "tokens_imported": not codebook.has_centroids,
        "model": trained.name,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "step": step,
        "steps": steps,
        "train_videos": len(train_videos),
        "held_out": len(held_out),
        "made": datetime.datetime.now(datetime.UTC).strftime("%-d %B %Y, %H:%M UTC"),
    }


def atlas(store: Store, trained: Trained) -> tuple[list[AtlasTile], int]:
    """The most frequent tokens with their positions, and how many more are in use."""
    codebook = load_codebook(store, trained.codebook)
    used = np.flatnonzero(codebook.used_)
    shown = np.sort(used[np.argsort(-codebook.counts_[used], kind="stable")[:ATLAS_MOST]])
    wide = tile_width(len(shown))
    positions = charts.atlas_positions if codebook.has_centroids else charts.grid_positions
    xy = positions(codebook.leaf_centroids()[shown], wide / (1 - wide), wide / (ATLAS_HEIGHT - wide))
    tiles = [
        AtlasTile(int(t), int(codebook.counts_[t]), float(x), float(y))
        for t, (x, y) in zip(shown, xy, strict=True)
    ]
    return tiles, len(used) - len(shown)


def tile_width(tokens: int) -> float:
    """The width of a token's picture as a share of the atlas's: all pictures fill about a third of it."""
    return min(0.12, math.sqrt(ATLAS_HEIGHT / 3 / max(tokens, 1)))


def thumbnail(store: Store, codebook: str, token: int) -> str | None:
    """The token's picture as a small square data URL; ``None`` where it has none."""
    path = picture_path(store, codebook, token)
    if path is None:
        return None
    with Image.open(path, formats=["JPEG"]) as picture:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        buffer = io.BytesIO()
        square.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE)).save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return data_url(buffer.getvalue())


def _environment() -> jinja2.Environment:
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {
        "clock": clock,
        "evidence": hit_evidence,
        "spoken": spoken,
        "percent": "{:.1%}".format,
        "thousands": "{:,}".format,
        "token": visual_name,
    }
    return environment
