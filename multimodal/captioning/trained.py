"""A trained captioner: its checkpoint, checked and opened for inference."""

from __future__ import annotations

import dataclasses
import json

from multimodal.captioning.options import CaptionerOptions
from multimodal.inference.trained import OPENED, Trained, check_opened, model_digest
from multimodal.joint.caption_decoder import CaptionDecoder
from multimodal.store import InputError, Store
from multimodal.training import checkpoints


@dataclasses.dataclass(frozen=True)
class TrainedCaptioner:
    """A captioner with its options; ``references`` is the number of captions that it was fine-tuned on."""

    name: str
    network: CaptionDecoder
    options: CaptionerOptions
    references: int


def load_captioner(store: Store, trained: Trained, name: str) -> TrainedCaptioner:
    """A finished captioner of the model. Raises :class:`InputError` where there is none, it was changed, or it belongs to
    another model."""
    folder = checkpoints.finished(store.captioner(name))
    if folder is None:
        raise InputError(f"captioner {name}: not in store {store.root}; run `videobert captioner`")
    check_opened(folder, (*OPENED, "trainer.json"))
    card = json.loads((folder / "card.json").read_text())
    if card["model_sha256"] != model_digest(trained.folder):
        raise InputError(
            f"captioner {name}: belongs to model {card['model']} at {card['step']}, not to {trained.name} at "
            f"{trained.folder.name}, the store's model now; run `videobert captioner`, or ask with --template"
        )
    # A captioner of an earlier version may have options that this one does not know: they are of its training.
    known = {f.name for f in dataclasses.fields(CaptionerOptions)}
    options = CaptionerOptions(**{name: value for name, value in card["options"].items() if name in known})
    network = CaptionDecoder.load(folder, trained.model)
    checkpoints.check_finite(folder, network)
    return TrainedCaptioner(name, network, options, card["references"])
