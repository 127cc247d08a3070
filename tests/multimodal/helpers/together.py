"""Trainings by the processes that `torchrun` started: `torchrun --nproc-per-node 2 together.py FOLDER`.

Each one's folder is named for what it shows; what a single process makes of them is in ``test_many_processes.py``.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import joint_samples
import numpy as np
import torch

from multimodal.captioning.dataset import CaptionDataset, EncodedView
from multimodal.examples.packing import Example, sequence
from multimodal.finetuning.training import TaskDataset
from multimodal.inference.head_shapes import HeadShape, LstmShape
from multimodal.inference.trained import Trained
from multimodal.joint.caption_decoder import BLANK, CLIP, CaptionDecoder, DecoderShape
from multimodal.joint.students import mapped_layers
from multimodal.objectives.captioning import CaptioningObjective
from multimodal.objectives.distillation import Cosine, DistillationObjective, SoftTargets, layer_terms
from multimodal.objectives.objective import Objective
from multimodal.objectives.weights import LossWeights
from multimodal.systems import SYSTEMS, System
from multimodal.terms import LABEL
from multimodal.training import loop
from multimodal.training.batches import Source
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext, distributed_context

STEPS, HALF = 4, 2
ALL, NO_CONTRAST = LossWeights(), LossWeights(contrast=0.0)
OF_TWO = ("albert", "spanbert", "structbert", "electra")
"""Systems whose terms or layers are others than VideoBERT's."""
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def run(
    root: Path,
    steps: int = STEPS,
    stop: int = STEPS,
    context: DistributedContext = SINGLE_PROCESS,
    weights: LossWeights = ALL,
    system: System = System(),  # noqa: B008
    **options,
) -> Path:
    """A training of `steps` steps that ends after `stop` of them, in fp32 and without dropout."""
    wanted = {
        "examples_per_step": 6,
        "least_steps": steps,
        "most_steps": steps,
        "seed": 3,
        "checkpoint_steps": HALF,
    }

    def stopped(done: int, total: int, words: str) -> None:
        if done == stop + 1:
            raise InterruptedError

    try:
        return loop.train(
            root,
            joint_samples.objective(lambda: joint_samples.model_of(system, 7, **PLAIN), weights, system),
            joint_samples.examples(1, videos=2, system=system),
            joint_samples.examples(2, videos=1, system=system),
            joint_samples.training(**wanted | options, weights=weights),
            device=torch.device("cpu"),
            card={},
            report=stopped,
            context=context,
        )
    except InterruptedError:
        return root / f"step-{stop}"


def run_captioner(
    root: Path, context: DistributedContext = SINGLE_PROCESS, examples_per_step: int = 6
) -> Path:
    """A training of the captioner's objective on made-up states and sentences, in fp32 and without dropout."""
    joint, random = joint_samples.model(7, **PLAIN), torch.Generator().manual_seed(0)
    pieces, views, sentences = tuple(range(4, 16)), [], []
    for n in range(10):
        kind_M = torch.tensor([CLIP] * (1 + n % 3) + [BLANK] * 2)
        states_MH = torch.randn(len(kind_M), joint.options.hidden_size, generator=random)
        views.append(EncodedView(states_MH.half(), kind_M, torch.zeros(len(kind_M), 0)))
        sentences.append([pieces[i] for i in torch.randint(12, (2 + n % 4,), generator=random).tolist()])
    shape = DecoderShape(2, 0.0, 8, 0, pieces)
    return loop.train(
        root,
        lambda _: CaptioningObjective(CaptionDecoder(joint, shape).init_weights(joint, 0), smoothing=0.1),
        CaptionDataset(views, sentences, pieces, seed=3),
        None,
        joint_samples.training(examples_per_step=examples_per_step, least_steps=STEPS, most_steps=STEPS),
        device=torch.device("cpu"),
        card={},
        report=lambda *_: None,
        context=context,
    )


SHAPE = HeadShape("sequence", "both", ("a", "b", "c"), width=4)
HEADS = {
    "full": SHAPE,
    "adapters": dataclasses.replace(SHAPE, adapt="adapters"),
    "averaged": dataclasses.replace(SHAPE, averaged=True),
    "lstm": LstmShape("sequence", "both", ("a", "b", "c"), lstm=8),
}
"""What a head moves; of ``averaged`` the mean is kept beside it, and a distance from it is in the loss."""


def in_four_steps(
    root: Path, begin: Callable[[Path | None], Objective], source: Source, context: DistributedContext
) -> Path:
    return loop.train(
        root, begin, source, None,
        joint_samples.training(examples_per_step=6, least_steps=STEPS, most_steps=STEPS, checkpoint_steps=HALF),
        device=torch.device("cpu"), card={}, report=lambda *_: None, context=context,
    )  # fmt: skip


def run_head(root: Path, name: str, context: DistributedContext = SINGLE_PROCESS) -> Path:
    """A training of a head on drawn labels, in fp32 and without dropout."""
    random, vocabulary, shape = np.random.default_rng(0), joint_samples.vocabulary(), HEADS[name]
    trained = Trained("m", root, joint_samples.model(7, **PLAIN), vocabulary, "codebook")
    logits_KC = torch.from_numpy(random.normal(size=(12, 3)).astype(np.float32))

    def begin(_: Path | None) -> Objective:
        if isinstance(shape, LstmShape):
            return shape.make_lstm(trained, logits_KC)
        made = shape.make(trained, torch.eye(3), distilled=float(shape.averaged))
        made.head.dropout = torch.nn.Identity()
        return made

    rows = [
        Example(
            *sequence(
                vocabulary, vocabulary.encode("now cut the onion"), random.integers(16, size=4).tolist()
            ),
            {LABEL: [(0, n if name == "lstm" else n % 3)]},
        )
        for n in range(12)
    ]
    return in_four_steps(root, begin, TaskDataset(rows, 0), context)


def run_student(root: Path, context: DistributedContext = SINGLE_PROCESS) -> Path:
    """A training of a student by all distances from its teacher, in fp32 and without dropout."""

    def begin(_: Path | None) -> DistillationObjective:
        teacher, student = (
            joint_samples.model(seed, num_hidden_layers=layers, **PLAIN) for seed, layers in ((3, 4), (5, 2))
        )
        distances = layer_terms(student.options, teacher.options, mapped_layers(4, 2))
        terms = [SoftTargets(3.0), Cosine(), *distances]
        weights = {term.names[0]: 1.0 for term in terms}
        return DistillationObjective(student, teacher, terms, weights, joint_samples.vocabulary())

    return in_four_steps(root, begin, joint_samples.examples(1, videos=2), context)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with distributed_context() as ddp:
        fsdp = DistributedContext(ddp.rank, ddp.world_size, sharded=True)
        run(folder / "ddp", context=ddp)
        run(folder / "ddp_from_one", context=ddp)
        run(folder / "fsdp", context=fsdp)
        run(folder / "fsdp_from_one", context=fsdp)
        run(folder / "ddp_to_one", stop=HALF, context=ddp)
        run(folder / "fsdp_to_one", stop=HALF, context=fsdp)
        run(folder / "in_parts", context=fsdp, accumulate=3, weights=NO_CONTRAST)
        for name, context in (("ddp", ddp), ("fsdp", fsdp)):
            for system in OF_TWO:
                run(folder / f"{system}_{name}", context=context, system=SYSTEMS[system])
        run_captioner(folder / "captioner_ddp", ddp)
        run_captioner(folder / "captioner_fsdp", fsdp)
        run_student(folder / "student_ddp", ddp)
        for head in HEADS:
            run_head(folder / f"{head}_ddp", head, ddp)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
