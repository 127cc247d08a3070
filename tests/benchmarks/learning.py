"""The learning study: pre-trains on a store of the grown sample corpus with several seeds and sizes, and evaluates each model.

    python tests/samples/make_corpus.py --out DIR --videos 344 --actions 12 --things 12 --voices captions --jobs 2 --preset ultrafast
    videobert ingest DIR --captions --truth DIR/truth.json --store STORE
    python tests/benchmarks/learning.py fit STORE                        # the codebook, on the training videos, once
    python tests/benchmarks/learning.py train STORE --seed 0             # one model; also --share 0.5, --alone text|video
    python tests/benchmarks/learning.py captions STORE --seed 0          # captioner, template, nearest neighbour of that model
    python tests/benchmarks/learning.py tables STORE                     # the plain baseline; also --share 0.5 --seed 1
    python tests/benchmarks/learning.py show STORE                       # the tables of all that was made, as in docs/results.md

Each model is a run of its own that can be stopped and resumed; its figures are kept in STORE/study/. All parts but show need
``--truth DIR/truth.json``. All models use one codebook and make the same number of steps, so that only the data differ. The
recipes were chosen by figures on the held-out videos. ``--fresh NEW/truth.json`` with train, captions and tables evaluates the
same models and counts on videos that came into the store later: ``make_corpus.py --seed 1 --videos 86 --out NEW ...`` and
``videobert ingest NEW --captions --store STORE``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import plain_tables
import study_table
import torch

from flows.sizes import QUICK
from multimodal.answers.counts import Counts
from multimodal.captioning.generation import describer, nearest_captions
from multimodal.captioning.options import CaptionerOptions
from multimodal.captioning.trained import TrainedCaptioner
from multimodal.captioning.training import gather as gather_captions
from multimodal.captioning.training import train_captioner
from multimodal.catalogue import Catalogue
from multimodal.inference.cloze import fill_blanks
from multimodal.inference.trained import Trained
from multimodal.joint.caption_decoder import CaptionDecoder
from multimodal.joint.initialization import from_checkpoint
from multimodal.joint.model import JointBert, ModelOptions
from multimodal.library import Material, read_material, usable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.objectives.weights import LossWeights
from multimodal.scoring.caption_figures import Candidate, caption_figures
from multimodal.scoring.cloze import cloze_figures
from multimodal.scoring.intervals import Figure
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.next_token import next_token_figures
from multimodal.scoring.truth import Truth, read_truth
from multimodal.segments import Segment
from multimodal.store import Store
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook, load_codebook, train_and_held_out
from multimodal.training.loop import train
from multimodal.training.pretraining import gather
from multimodal.training.start import text_start
from multimodal.vocabulary import TEMPLATE, Vocabulary

PARTS = ("fit", "train", "captions", "tables", "show")
STEPS = 1000
WEIGHTS = {
    "both": LossWeights(),
    "text": LossWeights(video=0, joint=0, alignment=0, contrast=0),
    "video": LossWeights(text=0, joint=0, alignment=0, contrast=0),
}


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A store with its codebook, its training videos and held-out videos, and the truth of both."""

    store: Store
    codebook: str
    train_videos: list[Material]
    held_out: list[Material]
    truth: Truth


def say(done: int, whole: int, words: str) -> None:
    print(f"{done}/{whole} {words}", file=sys.stderr, flush=True)


def fit(store: Store, truth: Truth) -> str:
    with Catalogue(store.catalogue) as catalogue:
        videos = usable(catalogue)
    train_videos = [v for v in videos if v.video not in truth.held_out]
    held_out = [v for v in videos if v.video in truth.held_out]
    codebook = fit_codebook(store, train_videos, held_out, TokenOptions(), say)
    encode_videos(store, codebook, videos, say)
    (store.root / "study").mkdir(exist_ok=True)
    (store.root / "study" / "codebook").write_text(codebook)
    return codebook


def read(store: Store, truth: Truth, fresh: Truth | None) -> Corpus:
    """The held-out videos are those of the codebook, or the ``fresh`` ones, which neither it nor a model was trained on."""
    codebook = (store.root / "study" / "codebook").read_text()
    with Catalogue(store.catalogue) as catalogue:
        videos = usable(catalogue)
    train_videos, held_out = train_and_held_out(store, videos, codebook)
    if fresh:
        assert not fresh.steps.keys() & truth.steps.keys(), "these videos are of the study itself"
        held_out = [v for v in videos if v.video in fresh.steps]
        truth = dataclasses.replace(truth, steps=truth.steps | fresh.steps)
        encode_videos(store, codebook, held_out, say)
    parts = ([read_material(store, codebook, v) for v in part] for part in (train_videos, held_out))
    return Corpus(store, codebook, *parts, truth)


def share_of(corpus: Corpus, share: float, seed: int) -> list[Material]:
    """A share of the training videos; smaller shares lie within larger ones of the same seed."""
    order = np.random.default_rng(seed).permutation(len(corpus.train_videos))
    return [corpus.train_videos[i] for i in order[: round(share * len(order))]]


def pretrained(
    corpus: Corpus, share: float, alone: str, seed: int, steps: int
) -> tuple[Trained, list[Material]]:
    """A model trained on a share of the videos, on both modalities or one ``alone``, and these videos."""
    videos = share_of(corpus, share, seed)
    codebook = load_codebook(corpus.store, corpus.codebook)
    centroids_KD = torch.from_numpy(codebook.leaf_centroids())
    start = text_start("minilm-l6")
    vocabulary = Vocabulary.of_bert(start, len(centroids_KD))
    options, training = QUICK
    training = dataclasses.replace(
        training, seed=seed, epochs=1, least_steps=steps, most_steps=steps, weights=WEIGHTS[alone]
    )
    used = codebook.used_.nonzero()[0].tolist()
    examples = gather(vocabulary, videos, options, seed, training.weights.active_terms, used)
    root = corpus.store.root / "study" / f"{alone}-{share:g}-{seed}-{steps}"

    def begin(checkpoint: Path | None) -> PretrainingObjective:
        if checkpoint is not None:
            model = JointBert(ModelOptions.load(checkpoint))
        else:
            model = from_checkpoint(start, vocabulary, centroids_KD, seed)
        return PretrainingObjective(model, vocabulary, training.weights)

    folder = train(root, begin, examples, None, training, device=torch.device("cpu"), card={}, report=say)
    return Trained(root.name, folder, JointBert.load(folder), vocabulary, corpus.codebook), videos


def of_one_modality(trained: Trained, train_videos: list[Material], corpus: Corpus) -> dict[str, Figure]:
    """The figures of a model that was trained on words or on visual tokens alone."""
    spoken = [s for m in train_videos for s in m.spoken() if s.text]
    cloze = cloze_figures(trained, plain_tables.paired(corpus.held_out), spoken, corpus.truth)
    counts, choices = Counts.of(train_videos), trained.vocabulary.visual
    return cloze | next_token_figures(trained, counts, choices, corpus.held_out)


def captioned(corpus: Corpus, trained: Trained, train_videos: list[Material]) -> dict[str, Figure]:
    """CIDEr and BLEU-4 of each captioning method with a model: the captioner trained on speech, the same fine-tuned on the
    written captions of the training videos, the template, and the nearest training moment's words or written caption.
    """
    options, moments = CaptionerOptions(), plain_tables.paired(corpus.held_out)
    written = [
        (m.video.video, s.start, s.end, f"{s.action} the {s.thing}")
        for m in train_videos
        for s in corpus.truth.steps[m.video.video]
    ]
    tokens, spoken = [s.tokens for s in moments], plain_tables.paired(train_videos)
    captions = [dataclasses.replace(s, text=caption_of(corpus.truth, s)) for s in spoken]
    methods = {
        "template": [fill_blanks(trained, TEMPLATE, t)[0] for t in tokens],
        "nearest_spoken": [text for text, _ in nearest_captions(trained, spoken, tokens)],
        "nearest_written": [text for text, _ in nearest_captions(trained, captions, tokens)],
    }
    for method, references in (("captioner", ()), ("captioner_fine_tuned", written)):
        speech, referenced = gather_captions(corpus.store, trained, train_videos, options, references)
        root = trained.folder.parent
        folder = train_captioner(root / method, trained, speech, options, options.training, {}, say)
        if referenced is not None:
            fine_tuned = root / f"{method} fine-tuned"
            folder = train_captioner(
                fine_tuned, trained, referenced, options, options.fine_tuning, {}, say, folder
            )
        decoder = CaptionDecoder.load(folder, trained.model)
        captioner = TrainedCaptioner(method, decoder, options, len(references))
        describe = describer(corpus.store, trained, captioner, corpus.held_out, during=False)
        methods[method] = describe(moments)
    return scored(corpus, methods)


def caption_of(truth: Truth, s: Segment) -> str:
    """The written caption of a moment, such as "chop the carrot"."""
    step = truth.at(s.video, s.start, s.end)
    return f"{step.action} the {step.thing}"


def scored(corpus: Corpus, methods: dict[str, list[str]]) -> dict[str, Figure]:
    """CIDEr and BLEU-4 (micro) of each method's captions of the held-out moments, against the written captions."""
    found, moments = {}, plain_tables.paired(corpus.held_out)
    for method, texts in methods.items():
        candidates = [
            Candidate(s.video, s.start, text, (caption_of(corpus.truth, s),))
            for s, text in zip(moments, texts, strict=True)
        ]
        scores = caption_figures(candidates, with_meteor=False)
        found |= {f"{method}_{name}": scores[f"caption_micro_{name}"] for name in ("cider", "bleu_4")}
        print(method, texts[:3], file=sys.stderr)
    return found


def counted(corpus: Corpus, train_videos: list[Material]) -> dict[str, Figure]:
    """The plain baseline, and its two captioning methods: the names by naive Bayes, and the written caption of the
    training moment that shares most of its tokens."""
    truth, start = corpus.truth, text_start("minilm-l6")
    centroids_KD = load_codebook(corpus.store, corpus.codebook).leaf_centroids().astype(np.float64)
    vocabulary = Vocabulary.of_bert(start, len(centroids_KD))
    found, bayes = plain_tables.figures(vocabulary, centroids_KD, train_videos, corpus.held_out, truth)
    spoken, moments = plain_tables.paired(train_videos), plain_tables.paired(corpus.held_out)
    names = [[int(p.argmax()) for p in bayes.log_p(s.tokens)] for s in moments]
    near = [plain_tables.nearest(spoken, s) for s in moments]
    return found | scored(
        corpus,
        {
            "names": [f"{truth.actions[verb]} the {truth.things[noun]}" for verb, noun in names],
            "shared_tokens_written": [caption_of(truth, s) for s in near],
        },
    )


def keep(corpus: Corpus, name: str, figures: dict) -> None:
    made = {key: dataclasses.asdict(f) for key, f in figures.items()}
    (corpus.store.root / "study" / f"{name}.json").write_text(json.dumps(made, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", default="show", choices=PARTS)
    parser.add_argument("store", type=Path, nargs="?", default=Path("study-store"))
    parser.add_argument("--truth", type=Path, help="the corpus' truth.json; needed but for show")
    parser.add_argument("--share", type=float, default=1.0, help="of the training videos")
    parser.add_argument("--alone", choices=tuple(WEIGHTS), default="both", help="train one modality alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--fresh", type=Path, help="truth.json of videos that came later, to evaluate on")
    given = parser.parse_args()
    if not given.store.is_dir():
        return print(f"{given.store}: there is none; the first lines of {__file__} say how it is made")
    store = Store(given.store, create=False)
    if given.part == "show":
        return study_table.show(store.root / "study")
    truth = read_truth(given.truth)
    if given.part == "fit":
        return print(fit(store, truth))
    corpus = read(store, truth, read_truth(given.fresh) if given.fresh else None)
    prefix = "fresh-" if given.fresh else ""
    if given.part == "tables":
        train_videos = share_of(corpus, given.share, given.seed)
        return keep(corpus, f"{prefix}tables-{given.share:g}-{given.seed}-0", counted(corpus, train_videos))
    trained, train_videos = pretrained(corpus, given.share, given.alone, given.seed, given.steps)
    if given.part == "captions":
        return keep(corpus, f"{prefix}captions-{trained.name}", captioned(corpus, trained, train_videos))
    if given.alone != "both":
        return keep(corpus, prefix + trained.name, of_one_modality(trained, train_videos, corpus))
    return keep(
        corpus, prefix + trained.name, evaluate(trained, train_videos, corpus.held_out, corpus.truth, say)
    )


if __name__ == "__main__":
    main()
