"""Training steps a second of each system against its `transformers` class, in real tokens, padding not counted.

    OMP_NUM_THREADS=1 python tests/benchmarks/system_speed.py [SYSTEM…]      CPU seconds, one thread

As `pretraining_speed.py`, whose shapes and batches these are: fp32, eager attention, the peer padded and with all logits.
The peers: `BertForPreTraining`; `RobertaForMaskedLM`; `AlbertForPreTraining`; for ELECTRA `ElectraForMaskedLM` of a
quarter of the width, a sample of its predictions, and `ElectraForPreTraining`. What a system asks beside (boundaries, trigrams,
a pair of its own) it is asked here too; the peers do without. Rounds take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable

import pretraining_speed
import torch
import transformers
from padding import padded
from pretraining_speed import AT, BATCHES, BETAS, SEQUENCES, SHAPES, VOCABULARY, draw, seconds

from multimodal.examples.packing import Batch, Example, pack
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.systems import PAIR_TASKS, SYSTEMS, System
from multimodal.terms import ALIGNMENT, BOUNDARY, JOINT, REPLACED, SHUFFLED
from multimodal.training.distributed import SINGLE_PROCESS
from multimodal.training.options import EPSILON, StepOptions
from multimodal.training.train_step import Trainer
from multimodal.vocabulary import SPECIALS, Vocabulary

WORDS = 30_522
MASK = 103
CPU = torch.device("cpu")


def vocabulary() -> Vocabulary:
    """BERT's ids of the specials, [MASK] among them, and 12^4 visual tokens."""
    words = [f"w{i}" for i in range(WORDS)]
    words[0], words[100:104] = SPECIALS[0], SPECIALS[1:]
    return Vocabulary(tuple(words), VOCABULARY - WORDS - 1)


def asked(example: Example, system: System) -> Example:
    """The example with what the system asks; spans are single tokens, trigrams a seventh of the tokens."""
    asks = {JOINT: example.asks[JOINT]}
    for term in PAIR_TASKS[system.pair_task]:
        asks[term] = example.asks[ALIGNMENT]
    masked = dict(example.asks[JOINT])
    if system.extra_terms == BOUNDARY:
        asks[BOUNDARY] = [(p - 1, p + 1, p, label) for p, label in masked.items()]
    if system.extra_terms == SHUFFLED:
        asks[SHUFFLED] = [(p, i) for p, i in enumerate(example.ids) if p % 7 == 1 and p not in masked]
    if system.extra_terms == REPLACED:
        asks[REPLACED] = [(p, masked.get(p, i)) for p, i in enumerate(example.ids)]
    return dataclasses.replace(example, asks=asks)


def ours(size: str, system: System, batches: list[Batch]) -> Callable[[int], None]:
    network = system.network
    if system.embedding_size:
        network |= {"visual_rows": VOCABULARY - WORDS - 1}
    options = ModelOptions(**pretraining_speed.shape(size) | network)
    objective = PretrainingObjective(JointBert(options).init_weights(0), vocabulary(), system=system)
    trainer = Trainer(objective, StepOptions(precision="fp32"), SINGLE_PROCESS).wrap()
    return lambda n: trainer.train_step([batches[n]], AT)


class Electra(torch.nn.Module):
    """Generator and discriminator of `transformers` with one table, as the authors train them."""

    def __init__(self, shape: dict[str, int]):
        super().__init__()
        hidden, heads = shape["hidden_size"] // 4, shape["num_attention_heads"] // 4
        narrow = {"hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": 4 * hidden}
        common = {"embedding_size": shape["hidden_size"], "attn_implementation": "eager"}
        self.generator = transformers.ElectraForMaskedLM(
            transformers.ElectraConfig(**shape | narrow | common)
        )
        self.discriminator = transformers.ElectraForPreTraining(transformers.ElectraConfig(**shape | common))
        self.generator.electra.embeddings = self.discriminator.electra.embeddings
        self.generator.tie_weights()

    def forward(self, labels: torch.Tensor, **grid: torch.Tensor) -> torch.Tensor:
        filled = self.generator(**grid, labels=labels)
        with torch.no_grad():
            noise = torch.empty_like(filled.logits).exponential_().log_()
            sampled = (filled.logits - noise).argmax(-1)
        masked = labels != -100
        ids = torch.where(masked, sampled, grid["input_ids"])
        replaced = masked & (sampled != labels)
        judged = self.discriminator(**grid | {"input_ids": ids}, labels=replaced.long())
        return filled.loss + 50 * judged.loss


def theirs(size: str, system: System, grids: list[dict]) -> Callable[[int], None]:
    shape = pretraining_speed.shape(size)
    eager = {"attn_implementation": "eager"}
    pair = {"next_sentence_label"}
    if system.extra_terms == REPLACED:
        model, loss, left_out = Electra(shape), lambda model, grid: model(**grid), pair
    elif system.name == "albert":
        # Its own default drops nothing; ours drops as the other peers do.
        config = transformers.AlbertConfig(
            **shape | eager, embedding_size=system.embedding_size, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1
        )  # fmt: skip
        model, left_out = transformers.AlbertForPreTraining(config), set()
        grids = [
            {("sentence_order_label" if k in pair else k): rows for k, rows in grid.items()} for grid in grids
        ]
        loss = lambda model, grid: model(**grid).loss  # noqa: E731
    elif system.name == "roberta":
        config = transformers.RobertaConfig(**shape | eager, type_vocab_size=2)
        model, loss, left_out = transformers.RobertaForMaskedLM(config), lambda m, g: m(**g).loss, pair
    else:
        config = transformers.BertConfig(**shape | eager)
        model, loss, left_out = transformers.BertForPreTraining(config), lambda m, g: m(**g).loss, set()
    grids = [{name: rows for name, rows in grid.items() if name not in left_out} for grid in grids]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, BETAS, EPSILON)

    def step(n: int) -> None:
        found = loss(model, grids[n])
        optimizer.zero_grad(set_to_none=True)
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    drawn = [draw(SEQUENCES["cpu", given.size], seed) for seed in range(BATCHES)]
    grids = [padded(examples) for examples in drawn]
    for name in given.systems:
        system = SYSTEMS[name]
        batches = [pack([asked(example, system) for example in examples]) for examples in drawn]
        steps = {"theirs": theirs(given.size, system, grids), "ours": ours(given.size, system, batches)}
        rates: dict[str, list[float]] = {who: [] for who in steps}
        for step in steps.values():
            step(0)
        for turn in range(given.rounds):
            for who, step in steps.items():
                rates[who].append(batches[turn % BATCHES].tokens / seconds(step, turn % BATCHES, CPU))
        theirs_, ours_ = (statistics.median(rates[who]) for who in ("theirs", "ours"))
        spread = " to ".join(f"{edge(rates['ours']):,.0f}" for edge in (min, max))
        print(
            f"{name:<12}{theirs_:>8,.0f} tokens/s of transformers{ours_:>8,.0f} ours ({spread})"
            f"{ours_ / theirs_:>7.2f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
