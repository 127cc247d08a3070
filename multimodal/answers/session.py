"""Owns the opening of a store for questions: its current model, a video's material, the index."""

from __future__ import annotations

from multimodal.answers.search import Index
from multimodal.catalogue import Catalogue, Video
from multimodal.library import Material, read_material, usable
from multimodal.pretraining import Trained, load_trained
from multimodal.store import InputError, Store


def open_trained(store: Store, catalogue: Catalogue, device: str) -> Trained:
    """The store's current model. Raises :class:`InputError` where it has none yet."""
    name, codebook = catalogue.current("model"), catalogue.current("model_codebook")
    if name is None or codebook is None:
        raise InputError(f"store {store.root}: has no model yet; run `videobert run VIDEOS`")
    return load_trained(store, name, codebook, device)


def open_index(store: Store, catalogue: Catalogue, trained: Trained) -> Index:
    return Index.load(store, trained, usable(catalogue))


def material(store: Store, catalogue: Catalogue, trained: Trained, label: str) -> Material:
    """What the store holds of the video that ``label`` means. Raises :class:`InputError` where it was refused or not encoded."""
    video: Video = catalogue.find(label)
    if video.state not in ("done", "partial"):
        raise InputError(
            f"video {video.name}: {video.state}{': ' + video.reason if video.reason else ''}; ask about another"
        )
    if video.clips and not store.tokens(trained.codebook, video.video).exists():
        raise InputError(f"video {video.name}: has no visual tokens yet; run `videobert index`")
    return read_material(store, trained.codebook, video)
