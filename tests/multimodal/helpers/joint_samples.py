"""A small kitchen without videos: a vocabulary, segments whose words and visual tokens belong together, tiny models."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from multimodal.catalogue import Video
from multimodal.examples.options import ExampleOptions
from multimodal.examples.sampling import Examples
from multimodal.inference.trained import Trained
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import Material, tokens_table
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.objectives.weights import LossWeights
from multimodal.segments import Segment
from multimodal.store import Store, canonical_json, write_whole
from multimodal.systems import SENTINELS, System
from multimodal.training.options import TrainingOptions
from multimodal.vocabulary import Vocabulary
from speech.sentences import Sentence, Transcript
from vision.clips import CLIP_SECONDS

ACTIONS = ("cut", "stir", "wash", "peel")
THINGS = ("onion", "carrot", "potato", "apple")
VISUAL = len(ACTIONS) * len(THINGS)
"""A visual token for each action on each thing."""
WORDS = (
    "[PAD] [unused0] [unused1] [UNK] [CLS] [SEP] [MASK] . , ' ! [ ] > - now let me show you how to the we then and in a "
    "bowl slow ##ly mask v ##0 ##1 ##2 un ##k"
).split()
CLIPS_A_STEP = 3


def vocabulary(visual: int = VISUAL) -> Vocabulary:
    return Vocabulary((*WORDS, *ACTIONS, *THINGS), visual)


def vocabulary_of(system: System) -> Vocabulary:
    """With the sentinels, and the words of judgements, that a system needs."""
    plain = vocabulary()
    if system.mask_unit != SENTINELS:
        return plain
    return dataclasses.replace(plain, words=(*plain.words, "true", "false"), sentinels=20)


def options(**shape: int) -> ModelOptions:
    small = {"vocab_size": vocabulary().size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 64, "max_position_embeddings": 128}  # fmt: skip
    return ModelOptions(**small | shape)


def model(seed: int = 0, **shape: int) -> JointBert:
    return JointBert(options(**shape)).init_weights(seed).eval()


def model_of(system: System, seed: int = 0, **shape: int) -> JointBert:
    """A model as the system trains it; a factorised table is of 8 numbers."""
    plain = model(seed, **{"vocab_size": vocabulary_of(system).size} | shape)
    network = system.network
    if network["embedding_size"]:
        network |= {"embedding_size": 8, "visual_rows": VISUAL}
    trained = JointBert(dataclasses.replace(plain.options, **network))
    trained.load_tensors(plain.export_tensors())
    return trained.eval()


def quick_model(seed: int = 0) -> JointBert:
    """A start from which so narrow a model learns within seconds: weights as large as its width wants, no dropout."""
    quick = model(seed, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for module in quick.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data *= 8
    return quick


def trained(folder: Path, seed: int = 0) -> Trained:
    """A model that knows nothing."""
    return Trained("untrained", folder / "step-0", model(seed), vocabulary(), "codebook")


def material(video: str, steps: list[tuple[int, int]]) -> Material:
    """A video in which each step, (action, thing), is said once and shown for three clips."""
    seconds = CLIPS_A_STEP * CLIP_SECONDS
    sentences = tuple(
        Sentence(i * seconds, (i + 1) * seconds, f"now {ACTIONS[a]} the {THINGS[t]}.", ())
        for i, (a, t) in enumerate(steps)
    )
    tokens = np.repeat([a * len(THINGS) + t for a, t in steps], CLIPS_A_STEP)
    starts = np.arange(len(tokens)) * CLIP_SECONDS
    about = Video(video, f"{video}.mp4", f"/videos/{video}.mp4", 1, "done", "", len(tokens) * CLIP_SECONDS,
                  len(tokens), len(sentences))  # fmt: skip
    return Material(about, Transcript("en", {"kind": "sample"}, sentences), starts, tokens)


def materials(videos: int = 8, steps: int = 6, seed: int = 0, kinds: int = VISUAL) -> list[Material]:
    """Videos of random steps out of the first `kinds`, no step twice in one video."""
    random = np.random.default_rng(seed)
    every = [(i % len(ACTIONS), (i + i // len(ACTIONS)) % len(THINGS)) for i in range(kinds)]
    return [
        material(f"{n:064x}", [every[i] for i in random.permutation(len(every))[:steps]])
        for n in range(1, videos + 1)
    ]


def put(store: Store, material: Material) -> Video:
    """The material in the store, as ingest and the codebook leave it."""
    video = dataclasses.replace(material.video, transcript="t", features="f")
    write_whole(store.transcript(video.video, "t"), canonical_json(material.transcript.to_dict()).encode())
    path = store.tokens("codebook", video.video)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(tokens_table(material.starts, material.tokens), path)
    return video


def objective(begin=None, weights: LossWeights = LossWeights(), system: System = System()):  # noqa: B008
    """What the training loop begins with: the pre-training objective over a model of `begin`, of this vocabulary."""
    return lambda checkpoint: PretrainingObjective(
        (begin or model)(), vocabulary_of(system), weights, system=system
    )


def segments(found: list[Material]) -> tuple[list[Segment], list[Segment]]:
    return [s for m in found for s in m.spoken()], [s for m in found for s in m.silent()]


def examples(
    seed: int = 0,
    wanted: ExampleOptions = ExampleOptions(),  # noqa: B008
    videos: int = 8,
    system: System = System(),  # noqa: B008
) -> Examples:
    return Examples.of(vocabulary_of(system), *segments(materials(videos)), wanted, seed, system=system)


def training(**wanted) -> TrainingOptions:
    """Few steps, in full precision."""
    few = {"examples_per_step": 8, "epochs": 1, "least_steps": 1, "precision": "fp32", "learning_rate": 1e-3}
    return TrainingOptions(**few | wanted)
