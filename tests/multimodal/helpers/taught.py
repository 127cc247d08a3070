"""A teacher of four layers in a store that a training takes, and a distillation that kills itself."""

import dataclasses
import os
from pathlib import Path

import joint_samples
import killed
from tiny_store import WORDS, three_videos_to_train_on

from multimodal.catalogue import Catalogue
from multimodal.distillation.options import DistillOptions
from multimodal.distillation.training import check_teacher, distill
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import usable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import Store
from multimodal.training import checkpoints
from multimodal.training.checkpoints import Progress
from multimodal.vocabulary import SPECIALS, Vocabulary

STEPS = 6
TRAINING = joint_samples.training(least_steps=STEPS, most_steps=STEPS, checkpoint_seconds=0.0)


def store_with_teacher(
    folder: Path, steps: int = STEPS, system: dict[str, str] | None = None
) -> tuple[Store, str]:
    """The store, whose model `teacher` has random weights; and its codebook."""
    store, vocabulary = three_videos_to_train_on(folder), Vocabulary((*SPECIALS, *WORDS), 4)
    with Catalogue(store.catalogue) as catalogue:
        codebook = catalogue.current("codebook")
        shape = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
        model = JointBert(ModelOptions(vocab_size=vocabulary.size, **shape)).init_weights(0, by_width=True)
        objective = PretrainingObjective(model, vocabulary)
        card = {
            "codebook": codebook,
            "options": {"training": dataclasses.asdict(TRAINING), "system": system or {}},
        }
        checkpoints.save(
            store.model("teacher"), objective, objective.state_dict(), {}, Progress(steps, STEPS, 0, 0), card
        )
        catalogue.set_current("model", "teacher")
        catalogue.set_current("model_codebook", codebook)
    return store, codebook


def taught(store: Store, codebook: str, options: DistillOptions) -> tuple[str, Path]:
    """The student of these options."""
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        videos = usable(catalogue)
    teacher = check_teacher(store, "teacher", options)
    return distill(store, teacher, videos, codebook, options, "cpu", lambda *_: None)


def killed_at(store: Store, codebook: str, options: DistillOptions, moment: str, step: int) -> int:
    """The same in a copy of this process that ends as :mod:`killed` says; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        killed.at(moment, step)
        taught(store, codebook, options)
    finally:
        os._exit(0)
    raise AssertionError("not reached")
