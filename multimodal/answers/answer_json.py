"""The JSON of each answer, the same for a command, a flow and the page."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimodal.answers import session
from multimodal.answers.token_names import read_token_names
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.store import InputError, Store, write_whole
from multimodal.vocabulary import visual_name

if TYPE_CHECKING:
    from multimodal.answers.forecast import SamplingOptions
    from multimodal.answers.imagine import Imagined
    from multimodal.inference.trained import Trained

# The parts of each answer are imported when it is asked for: a search by words alone needs neither torch nor a model.

Document = dict[str, Any]


def _with_model(answer: Callable[..., Document]) -> Callable[..., Document]:
    """``answer`` called with the opened store, its catalogue and its model in place of the store's folder."""

    @functools.wraps(answer)
    def answered(folder: Path, *args: Any, device: str = "cpu", **options: Any) -> Document:
        store = Store(folder, create=False)
        with Catalogue(store.catalogue) as catalogue:
            return answer(store, catalogue, session.open_trained(store, catalogue, device), *args, **options)

    return answered


def search(
    folder: Path,
    text: str | None = None,
    *,
    like: str | None = None,
    texts: bool = False,
    top: int = 5,
    device: str = "cpu",
) -> Document:
    """The moments nearest to ``text`` or to the moment ``like``; ``by`` is ``words`` where the store has no model yet.

    ``texts``: the sentences that fit the picture at ``like``. ``unknown``: words that the model's vocabulary lacks.
    """
    if (text is None) == (like is None):
        raise InputError(
            "search: give a TEXT, or --like VIDEO@S (with --texts: what fits its picture), one of them"
        )
    if texts and like is None:
        raise InputError("--texts: goes with --like VIDEO@S; without it give the TEXT alone")
    if top < 1:
        raise InputError(f"--top {top}: must be 1 or more")
    store = Store(folder, create=False)
    with Catalogue(store.catalogue) as catalogue:
        moment = session.resolve(catalogue, like) if like is not None else None
        if moment is not None and moment.at is None:
            raise InputError(f"--like {like}: names no second; write VIDEO@SECONDS, as in {like}@62.5")
        by_words_alone = moment is None and catalogue.current("model") is None
        if by_words_alone:
            from multimodal.answers.search import without_model

            index = without_model(store, usable(catalogue))
        else:
            index = session.open_index(store, catalogue, session.open_trained(store, catalogue, device))
        if moment is not None and moment.at is not None:
            hits = (index.texts if texts else index.like)(moment.video, moment.at, top)
        else:
            hits = index.search(text or "", top)
        unknown = index.unknown_words(text or "")
    document: Document = {"query": text, "by": "words" if by_words_alone else "model", "unknown": unknown}
    if moment is not None:
        document["like"] = {"video": moment.video.video, "name": moment.video.name, "at": moment.at}
    return document | {"hits": [dataclasses.asdict(hit) for hit in hits]}


@_with_model
def caption(
    store: Store,
    catalogue: Catalogue,
    trained: Trained,
    video: str,
    *,
    at: float | None = None,
    template: str | None = None,
    vtt: Path | None = None,
) -> Document:
    """Captions of a video, or of the moment that ``video`` or ``at`` names: by the captioner where the store has one and
    no template is given. ``vtt``: a file that the whole video's captions are written to."""
    from multimodal.answers import caption as captions

    moment = session.resolve(catalogue, video, at)
    if vtt is not None:
        if moment.at is not None:
            raise InputError(
                f"--vtt {vtt}: holds the captions of a whole video; leave the second {moment.at:g} out"
            )
        _writable("--vtt", vtt, ".vtt")
    given = session.material_of(store, trained, moment.video)
    captioner = None if template is not None else session.open_captioner(store, catalogue, trained)
    if captioner is not None:
        found = captions.captioned(store, trained, captioner, given, at=moment.at)
    elif template is not None:
        found = captions.caption(trained, given, at=moment.at, template=template)
    else:
        found = captions.caption(trained, given, at=moment.at)
    document = {
        "video": moment.video.video, "name": moment.video.name,
        "captions": [dataclasses.asdict(c) for c in found],
    }  # fmt: skip
    if vtt is not None:
        write_whole(vtt, captions.webvtt(found).encode())
        document["vtt"] = str(vtt.absolute())
    return document


@_with_model
def forecast(
    store: Store,
    catalogue: Catalogue,
    trained: Trained,
    video: str,
    *,
    at: float | None = None,
    top: int = 3,
    words: bool = False,
    rollout: float | None = None,
    sampling: SamplingOptions | None = None,
) -> Document:
    """The likeliest tokens at each horizon after a moment and, for ``rollout`` seconds, one sample of the clips there."""
    from multimodal.answers import forecast as forecasts

    if sampling is not None and rollout is None:
        raise InputError(
            "--temperature, --top-p and --seed: have no effect without --rollout SECONDS; add it"
        )
    if top < 1:
        raise InputError(f"--top {top}: at least 1 token for each horizon")
    moment = session.resolve(catalogue, video, at)
    if moment.at is None:
        raise InputError(f"VIDEO {video}: which second of it? write {video}@SECONDS or --at SECONDS")
    given = session.material_of(store, trained, moment.video)
    horizons = forecasts.forecast(trained, given, moment.at, top, words=words)
    token_names = read_token_names(store, trained)

    def shown(token: int, probability: float) -> Document:
        return _token(store, trained, token, token_names) | {"probability": probability}

    document = {
        "video": moment.video.video, "name": moment.video.name, "at": moment.at,
        "heard": forecasts.words_before(given.transcript, moment.at) if words else None,
        "horizons": [{"seconds": h.seconds, "tokens": [shown(*t) for t in h.tokens]} for h in horizons],
    }  # fmt: skip
    if rollout is not None:
        options = sampling or forecasts.SamplingOptions()
        sampled = forecasts.rollout(trained, given, moment.at, rollout, options, words=words)
        document["rollout"] = dataclasses.asdict(options) | {
            "clips": [{"seconds": s.seconds} | shown(s.token, s.probability) for s in sampled]
        }
    return document


@_with_model
def classify(
    store: Store,
    catalogue: Catalogue,
    trained: Trained,
    video: str,
    *,
    verbs: Sequence[str] = (),
    nouns: Sequence[str] = (),
    at: float | None = None,
) -> Document:
    """Both lists, ranked, for each moment of a video, or the one that ``video`` or ``at`` names."""
    from multimodal.answers.caption import seen_moments
    from multimodal.answers.classify import classify_moments

    moment = session.resolve(catalogue, video, at)
    shown = seen_moments(session.material_of(store, trained, moment.video), moment.at)
    found = classify_moments(trained, [m.tokens for m in shown], verbs, nouns)
    return {
        "video": moment.video.video, "name": moment.video.name,
        "moments": [{"start": m.start, "end": m.end} | dataclasses.asdict(c) for m, c in zip(shown, found, strict=True)],
    }  # fmt: skip


@_with_model
def imagine(
    store: Store,
    catalogue: Catalogue,
    trained: Trained,
    text: str,
    *,
    clips: int | None = None,
    out: Path | None = None,
) -> Document:
    """The clips that a text calls for. ``out``: a PNG file that the strip of their pictures is written to."""
    from multimodal.answers import imagine as images

    if out is not None:
        _writable("--out", out, ".png")
    found = images.imagine(store, trained, text, images.CLIPS if clips is None else clips)
    if out is not None:
        write_whole(out, images.strip(store, trained, found))
    token_names = read_token_names(store, trained)

    def nearest(clip: Imagined) -> Document | None:
        known = catalogue.get(clip.video)
        moment = {"video": clip.video, "name": known and known.name, "start": clip.start, "end": clip.end}
        return moment if clip.video else None

    return {
        "text": text, "strip": out and str(out.absolute()),
        "clips": [
            _token(store, trained, c.token, token_names) | {"probability": c.probability, "nearest": nearest(c)}
            for c in found
        ],
    }  # fmt: skip


def _token(store: Store, trained: Trained, token: int, names: Mapping[int, str]) -> Document:
    """``name``: the words that are said while the token is shown, ``None`` where none is said more often than by chance."""
    from multimodal.tokens import picture_path

    picture = picture_path(store, trained.codebook, token)
    return {"token": visual_name(token), "name": names.get(token), "picture": picture and str(picture)}


def _writable(option: str, path: Path, ending: str) -> None:
    if path.suffix.lower() != ending:
        raise InputError(f"{option} {path}: name a file that ends in {ending}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.absolute().parent}; make it first")
