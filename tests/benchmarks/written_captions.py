"""Captions of held-out videos by the systems that write, beside plain ones: `python tests/benchmarks/written_captions.py [--kitchen]`.

The corpora, the networks and the budget are those of `systems.py`, whose ``--keep FOLDER`` this takes: models that lie there are not
trained again. Each route captions the same moments in which somebody speaks (1,000 at most), from what they show alone, and is judged
by what is said: BLEU-4, METEOR, ROUGE-L and CIDEr, *micro* over all moments and of each video's captions as one *paragraph*. *log p*:
what the route gives the sentence that was said, in nats, in the mean over the moments; of all word pieces those that it may write.

- *captioner*: learned over VideoBERT from the same sentences, its own 30 passes beside the budget. *template*: VideoBERT's blanks.
- *nearest neighbour*: what is said in the learned moment that shows most of the same tokens.
- *counted names*: the template with the names that naive Bayes finds likeliest, told which words are names.
- *the world*: in the known world, the sentence that its process finds likeliest, and the probabilities of the process itself.
"""

import argparse
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import known_world
import numpy as np
import systems
import token_kitchen
import torch

from multimodal.answers.counts import Counts
from multimodal.answers.plain import WordsAndTokens
from multimodal.captioning.dataset import CaptionDataset, caption_inputs, encode_views
from multimodal.captioning.generation import describer
from multimodal.captioning.options import CaptionerOptions
from multimodal.captioning.trained import TrainedCaptioner, load_captioner
from multimodal.captioning.training import learn_captioner
from multimodal.examples import tasks
from multimodal.examples.packing import pack
from multimodal.inference.left_to_right import prompt
from multimodal.inference.trained import TEXT_TYPE, Trained, encode
from multimodal.joint.writer import TargetReader
from multimodal.known_world.corpus import WORLD, read_world
from multimodal.known_world.inference import BestAnswers
from multimodal.library import Material, read_material, usable
from multimodal.scoring.caption_figures import Candidate, caption_figures
from multimodal.scoring.evaluation import TEMPLATE as OWN
from multimodal.scoring.evaluation import captioning_methods, nearest_captions
from multimodal.scoring.intervals import sample_questions
from multimodal.scoring.truth import read_truth
from multimodal.segments import Segment
from multimodal.tokens import train_and_held_out
from multimodal.vocabulary import TEMPLATE, Vocabulary

METRICS = ("bleu_4", "meteor", "rouge_l", "cider")
MODES = ("micro", "paragraph")
WRITERS = ("gpt", "t5", "bart")
BATCH = 64
Scored = dict[str, float]


def judged(asked: Sequence[Segment], captions: Sequence[str], log_p: np.ndarray | None = None) -> Scored:
    """The metrics in both modes, and the mean of ``log_p``."""
    candidates = [Candidate(s.video, s.start, c, (s.text,)) for s, c in zip(asked, captions, strict=True)]
    figures = caption_figures(candidates)
    found = {
        f"{mode} {metric}": figures[f"caption_{mode}_{metric}"].value for mode in MODES for metric in METRICS
    }
    found["right"] = float(
        np.mean([plain_words(c) == plain_words(s.text) for s, c in zip(asked, captions, strict=True)])
    )
    return found | ({} if log_p is None else {"log p": float(log_p.mean())})


def plain_words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def writable(vocabulary: Vocabulary, end: int) -> list[int]:
    return [*vocabulary.replaceable_words, end]


@torch.no_grad()
def log_p_left_to_right(trained: Trained, asked: Sequence[Segment]) -> np.ndarray:
    """[n]: log p of what is said behind the moment's clips (GPT)."""
    vocabulary, found = trained.vocabulary, []
    allowed = torch.tensor(writable(vocabulary, vocabulary.sep))
    read, answers = [], []
    for segment in asked:
        ids, types = prompt(trained, segment.tokens)
        words = vocabulary.encode(segment.text)
        read.append(([*ids, *words], [*types, *[TEXT_TYPE] * len(words)]))
        answers.append([*words, vocabulary.sep])
    number = 0
    for batch, x_TH in encode(trained, read, BATCH):
        for states in x_TH.split(batch.lengths_S.tolist()):
            answer = answers[number]
            found.append(_of_answer(trained.model.cloze(states[-len(answer) :]), allowed, answer))
            number += 1
    return np.array(found)


@torch.no_grad()
def log_p_written(trained: Trained, asked: Sequence[Segment]) -> np.ndarray:
    """[n]: log p of what is said as the answer to the task of a caption (BART, T5)."""
    vocabulary, found = trained.vocabulary, []
    allowed = torch.tensor(writable(vocabulary, tasks.end_of(vocabulary, trained.form, tasks.CAPTION)))
    reader = TargetReader(trained.model, trained.writer)
    examples = [
        tasks.example(
            vocabulary, trained.form, tasks.CAPTION, [((), s.tokens)], vocabulary.encode(s.text), 512
        )
        for s in asked
    ]
    for first in range(0, len(examples), BATCH):
        some = examples[first : first + BATCH]
        batch = pack(some)
        states = reader.encode(batch).split(batch.target.lengths_S.tolist())
        for example, y_UH in zip(some, states, strict=True):
            answer = [*example.target.ids[1:], int(allowed[-1])]
            found.append(_of_answer(reader.cloze(y_UH), allowed, answer))
    return np.array(found)


@torch.no_grad()
def log_p_captioner(
    trained: Trained, captioner: TrainedCaptioner, by_video: dict[str, Material], asked: Sequence[Segment]
) -> np.ndarray:
    network, found = captioner.network, []
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        inputs = [
            caption_inputs(None, by_video[s.video], [s], captioner.options, during=False)[0] for s in some
        ]
        views = encode_views(trained, inputs, captioner.options.template)
        sentences = [[*trained.vocabulary.encode(s.text), trained.vocabulary.sep] for s in some]
        batch = CaptionDataset(views, sentences, network.shape.pieces, 0).batch(
            [(0, n) for n in range(len(some))]
        )
        logits = network(batch.written_NL, network.attended(batch.memory), batch.memory.present_NM)
        for row, label in zip(logits, batch.label_NL, strict=True):
            written = label[label >= 0]
            log_p = torch.log_softmax(row[: len(written)].float(), -1)
            found.append(float(log_p[torch.arange(len(written)), written].sum()))
    return np.array(found)


def _of_answer(logits_UV: torch.Tensor, allowed: torch.Tensor, answer: Sequence[int]) -> float:
    log_p = torch.log_softmax(logits_UV[:, allowed].float(), -1)
    places = {piece: n for n, piece in enumerate(allowed.tolist())}
    return float(sum(log_p[row, places[piece]] for row, piece in enumerate(answer)))


def counted_names(
    table: WordsAndTokens, actions: Sequence[str], things: Sequence[str], asked: Sequence[Segment]
) -> list[str]:
    found = []
    for segment in asked:
        names = []
        for some in (actions, things):
            fits = table.fits(some, segment.tokens, segment.video)
            names.append(some[int(np.argmax([fit.score for fit in fits]))])
        found.append(TEMPLATE.replace("[MASK]", "{}").format(*names))
    return found


def of_the_world(best: BestAnswers, asked: Sequence[Segment]) -> Scored:
    """The likeliest sentence of the process, and the probability that it gives to what was said."""
    captions, log_p = [], []
    for segment in asked:
        tokens = list(segment.tokens)
        captions.append(" ".join(best.likeliest_sentence(tokens)))
        both, _, run = best.log_likelihoods([segment.text.split()], [tokens])
        log_p.append(float(both[0, 0] - run[0]))
    return judged(asked, captions, np.array(log_p))


def row(name: str, seeds: Sequence[Scored]) -> str:
    cells = []
    for key in (f"{mode} {metric}" for mode in MODES for metric in METRICS):
        cells.append(cell([scored[key] for scored in seeds]))
    cells += [cell([scored["right"] for scored in seeds])]
    cells += [cell([scored["log p"] for scored in seeds], 2) if "log p" in seeds[0] else "–"]
    return f"| {name} | {' | '.join(cells)} |"


def cell(values: Sequence[float | None], digits: int = 3) -> str:
    if any(value is None or math.isnan(value) for value in values):
        return "–"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", default=list(WRITERS))
    parser.add_argument("--kitchen", action="store_true")
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--no-captioner", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with systems.kept(given.keep) as (folder, store, catalogue):
        corpus = folder / "corpus"
        if given.kitchen:
            codebook = token_kitchen.ingest_kitchen(corpus, store, catalogue)
            truth = read_truth(corpus / token_kitchen.TRUTH)
            actions, things, best = truth.actions, truth.things, None
        else:
            codebook = systems.world_corpus(folder, store, catalogue, given.videos)
            best = BestAnswers(read_world(corpus / WORLD))
            actions, things = (
                sorted({word for words in some for word in words})
                for some in (best.world.action_words, best.world.thing_words)
            )
        videos = usable(catalogue)
        learned, held_out = (
            [read_material(store, codebook, video) for video in part]
            for part in train_and_held_out(store, videos, codebook)
        )
        spoken = [s for m in held_out for s in m.spoken() if s.text and s.tokens]
        asked, _ = sample_questions(spoken, 0)
        by_video = {m.video.video: m for m in held_out}
        print(f"{len(asked)} moments of {len(held_out)} videos", flush=True)
        names = [f"{mode} {metric}" for mode in MODES for metric in METRICS]
        print(f"| route | {' | '.join(names)} | the very sentence | log p |")
        print(f"|{'---|' * (len(names) + 3)}")

        def show(name: str, scored: Sequence[Scored]) -> None:
            print(row(name, scored), flush=True)

        if best:
            show("the world", [of_the_world(best, asked)])

        def runs(name: str) -> list[Trained]:
            options = systems.candidate(name)
            return [
                systems.trained_model(store, videos, codebook, options, given.tokens, seed)
                for seed in range(given.seeds)
            ]

        def captions_of(trained: Trained) -> list[str]:
            methods = captioning_methods(store, trained, None, learned, held_out, with_references=False)
            return methods[OWN](asked)

        plain = runs("videobert")
        table = WordsAndTokens(Counts.of(learned), plain[0].vocabulary.visual)
        show("nearest neighbour", [judged(asked, nearest_captions(plain[0], learned)(asked))])
        show("counted names", [judged(asked, counted_names(table, actions, things, asked))])
        show("template", [judged(asked, captions_of(trained)) for trained in plain])
        if not given.no_captioner:
            scored = []
            for seed, trained in enumerate(plain):
                options = dataclasses.replace(CaptionerOptions(), seed=seed)
                name = learn_captioner(store, trained, videos, options, known_world.quiet)
                captioner = load_captioner(store, trained, name)
                captions = describer(None, trained, captioner, held_out, during=False)(asked)
                scored.append(judged(asked, captions, log_p_captioner(trained, captioner, by_video, asked)))
            show("captioner", scored)
        for name in given.systems:
            likelihood: Callable[[Trained, Sequence[Segment]], np.ndarray] = (
                log_p_left_to_right if name == "gpt" else log_p_written
            )
            show(name, [judged(asked, captions_of(t), likelihood(t, asked)) for t in runs(name)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
