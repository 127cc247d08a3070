"""The model card: what a checkpoint is, what it was made from, its figures and limits, in Hugging Face's form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multimodal.joint.options import ModelOptions
from multimodal.systems import LEFT_TO_RIGHT, NOISES, PERMUTATION, SENTINELS
from multimodal.terms import REPLACED, TITLES
from multimodal.training.checkpoints import Progress
from multimodal.training.start import told_about
from multimodal.vocabulary import JOIN, Vocabulary, visual_name
from vision.clips import CLIP_SECONDS

BASES = {"minilm-l6": "sentence-transformers/all-MiniLM-L6-v2"}

GENERATOR = (
    "This folder opens as the discriminator. Its cloze head was not trained: what fills blanks is the generator in "
    "`terms.safetensors`, which shares its embeddings."
)
ORDERED = {
    LEFT_TO_RIGHT: f"It was trained from left to right and fills no blanks: it says what comes next, behind `[CLS] words {JOIN} "
    f"video` or `[CLS] {JOIN} video [SEP] words`, up to `[SEP]`.",
    PERMUTATION: "It was trained by permutations: a `[MASK]` is a query, which no other token sees. `transformers` lets all "
    "tokens see it, so there it fills blanks otherwise than `videobert` does.",
}
WRITER = "The files here hold its encoder, as a BERT. What writes is the decoder in `terms.safetensors`; the cloze head was not trained."


def model_card(
    made_from: dict[str, Any],
    shape: ModelOptions,
    vocabulary: Vocabulary,
    progress: Progress,
    metrics: Path,
    about: str = "",
) -> str:
    """The text of a checkpoint's ``README.md``.

    ``made_from`` is the content of ``card.json``; where it says nothing, nothing is claimed. ``metrics`` is the file of the
    training's figures so far. ``about``: a section of its own.
    """
    last, held_out = last_numbers(metrics)
    options = made_from.get("options", {})
    start, system = options.get("text_start"), options.get("system") or {}
    left_to_right = system.get("attention") == LEFT_TO_RIGHT
    header = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation" if left_to_right else "fill-mask",
        "tags": ["videobert", "bert", "video", "multimodal"],
    } | ({"base_model": BASES[start]} if start in BASES else {})
    parts = [
        f"---\n{_yaml(header)}---",
        "# A joint BERT of speech and video",
        f"A BERT of {shape.num_hidden_layers} layers × {shape.hidden_size} over one vocabulary of {vocabulary.size:,} entries: "
        f"{len(vocabulary.words):,} word pieces, `{JOIN}` (id {vocabulary.join}), and {vocabulary.visual:,} visual tokens from "
        f"id {vocabulary.first_visual} on, after VideoBERT (Sun et al., ICCV 2019). It reads `[CLS] words {JOIN} visual tokens "
        f"[SEP]`; token type 1 begins at `{JOIN}`. A visual token stands for {CLIP_SECONDS} s of video. {_trained(progress)}",
        _system(system),
        about,
        _data(made_from),
        _numbers(last, held_out),
        f"## Options\n\n```json\n{json.dumps(options, indent=1, sort_keys=True, default=str)}\n```"
        if options
        else "",
        _limits(shape),
        _opening(vocabulary, left_to_right),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _yaml(header: dict[str, Any]) -> str:
    """JSON values are YAML."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in header.items())


def _trained(progress: Progress) -> str:
    about = f"After step {progress.step} of {progress.steps}."
    return f"{about} Its training {progress.about_early_end}." if progress.early else about


def _system(parts: dict[str, Any]) -> str:
    if not parts:
        return ""
    rows = [f"- {name.replace('_', ' ')}: {value}" for name, value in parts.items() if name != "name"]
    about = "\n".join([f"## Method\n\nPretrained as `{parts['name']}` (`docs/systems.md`):\n", *rows])
    if parts.get("extra_terms") == REPLACED:
        return f"{about}\n\n{GENERATOR}"
    if parts.get("attention") in ORDERED:
        return f"{about}\n\n{ORDERED[parts['attention']]}"
    return f"{about}\n\n{WRITER}" if parts.get("mask_unit") in (NOISES, SENTINELS) else about


def _data(made_from: dict[str, Any]) -> str:
    rows = [f"- codebook: `{made_from['codebook']}`"] if "codebook" in made_from else []
    for key, words in (("learned", "learned from"), ("held_out", "held out")):
        if key in made_from:
            rows.append(f"- {words}: {len(made_from[key])} videos, digest `{digest_of(made_from[key])}`")
    for key, words in (
        ("spoken_segments", "spoken segments"),
        ("runs", "runs of visual tokens"),
        ("trained_word_pieces", "word pieces were trained; the others are as in the start, with one bias"),
    ):
        if key in made_from:
            rows.append(f"- {made_from[key]} {words}")
    rows += [f"- {told_about(made_from['start'])}"] if "start" in made_from else []
    rows += [f"- {made_from['notice']}"] if "notice" in made_from else []
    if unknown := made_from.get("unknown_pieces"):
        rows.append(
            f"- of {len(unknown)} videos more than a tenth of the pieces is unknown, up to {max(unknown.values()):.0%}"
        )
    about = (
        "A digest is the start of the SHA-256 of the videos' own, sorted, one a line; `card.json` names each."
    )
    return "\n".join(["## Data", "", *rows, "", about]) if rows else ""


def digest_of(videos: Sequence[str]) -> str:
    """The digest of a set of videos: the first 16 hex digits of the SHA-256 of their sorted digests, one a line."""
    return hashlib.sha256("".join(f"{v}\n" for v in sorted(videos)).encode()).hexdigest()[:16]


def last_numbers(metrics: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last line of ``metrics``, and the last that holds losses on held-out videos; empty where there is none."""
    last, held_out = "", ""
    if metrics.exists():
        with metrics.open(encoding="utf-8") as lines:
            for line in lines:
                last = line
                held_out = line if '"held_out"' in line else held_out
    return json.loads(last or "{}"), json.loads(held_out or "{}")


def _numbers(last: dict[str, Any], held_out: dict[str, Any]) -> str:
    if not last:
        return ""
    learned = {name: last[name] for name in TITLES if name in last}
    judged = held_out.get("held_out", {})
    rows = [
        f"| {TITLES[name]} (`{name}`) | {_number(learned.get(name))} | {_number(judged.get(name))} |"
        for name in TITLES
        if name in learned or name in judged
    ]
    after = f"; the second column is of step {held_out['step']}" if held_out else ""
    return "\n".join(
        [
            "## Numbers",
            "",
            f"Cross entropies in nats: of one batch, the last of step {last['step']}, with dropout{after}.",
            "`videobert evaluate` gives accuracies with their intervals and chance.",
            "",
            "| term | last batch | held-out videos |",
            "|---|---|---|",
            *rows,
        ]
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _limits(shape: ModelOptions) -> str:
    frozen = f"The rows of its {shape.frozen_rows:,} visual tokens were frozen. " if shape.frozen_rows else ""
    return (
        "## Limits\n\n"
        "It knows what its videos said and showed, with their one-sidedness, and nothing else. Visual tokens mean something "
        "only under the codebook named above, with the same frames and the same backbone. Sequences were short (see "
        f"`longest` among the options; {shape.max_position_embeddings} positions at most). {frozen}Words come from speech "
        "recognition or captions and hold their errors; a visual token is a set of clips that look alike to the backbone, not "
        "a named thing. The licence of the text checkpoint it began with and the rights in the videos go with it."
    )


def _opening(vocabulary: Vocabulary, left_to_right: bool) -> str:
    tokens = " ".join(visual_name(i) for i in range(min(2, vocabulary.visual)))
    if left_to_right:
        return f"""## How to open it

```python
from transformers import AutoTokenizer, BertLMHeadModel

model = BertLMHeadModel.from_pretrained(FOLDER, is_decoder=True)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
inputs = tokenizer("now cut the onion", "{tokens}", return_tensors="pt")
logits = model(**inputs).logits  # at each place those of the next one
```"""
    return f"""## How to open it

```python
from transformers import AutoTokenizer, BertForPreTraining

model = BertForPreTraining.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
inputs = tokenizer("now [MASK] the onion", "{tokens}", return_tensors="pt")
logits = model(**inputs).prediction_logits  # and seq_relationship_logits: 0 aligned, 1 not
```"""
