"""The tables of the learning study: figures of the models, of the counts beside them, and of their captions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

ROWS = {
    "action_and_thing_text_cloze_with_video": "action and thing words, with the clips",
    "action_and_thing_text_cloze_without_video": "the same without them",
    "text_cloze_with_video": "all words, with the clips",
    "text_cloze_without_video": "all words, without them",
    "video_cloze_with_text": "visual tokens, with the words",
    "video_cloze_without_text": "visual tokens, without them",
    "cloze_perplexity_joint_words": "perplexity of words, with the clips",
    "cloze_perplexity_text_only": "without them",
    "cloze_perplexity_joint_tokens": "perplexity of visual tokens, with the words",
    "cloze_perplexity_video_only": "without them",
    "alignment_accuracy": "alignment",
    "alignment_auc": "alignment, area under the curve",
    "verb_zero_shot": "verb, zero-shot",
    "verb_zero_shot_without_video": "the same without the video (language prior)",
    "noun_zero_shot": "noun, zero-shot",
    "noun_zero_shot_without_video": "the same without the video",
    "search_recall_at_1": "visual search, R@1",
    "search_recall_at_10": "R@10",
    "search_first_10_show_the_same": "share of the first 10 that show the same pair",
    "next_token": "next token, 1.5 s",
    "next_token_at_3_s": "3 s",
    "next_token_at_6_s": "6 s",
    "next_token_at_12_s": "12 s",
}
TEXT = ("text_cloze_without_video", "action_and_thing_text_cloze_without_video", "cloze_perplexity_text_only")
VIDEO = ("video_cloze_without_text", "cloze_perplexity_video_only", "next_token")
"""The figures of a model of one modality: names that begin so."""
SHARES = {"0.125": "an eighth", "0.25": "a quarter", "0.5": "half", "1": "all"}

Runs = list[dict[str, dict]]


def show(study: Path) -> None:
    """Prints the tables of the held-out videos, and of the fresh ones where they were evaluated on."""
    for asked, what in (("", "Held-out videos"), ("fresh-", "Fresh videos")):
        models = {name: _runs(study, f"{asked}both-{share}-") for share, name in SHARES.items()}
        counts = {name: _runs(study, f"{asked}tables-{share}-") for share, name in SHARES.items()}
        if not any(models.values()) and not any(counts.values()):
            continue
        alone = {
            f"{name} alone": _runs(study, f"{asked}{kind}-1-")
            for name, kind in (("words", "text"), ("video", "video"))
        }
        print(f"\n{what}: the models\n")
        _table({"counts, all": counts["all"]} | models | alone)
        print(f"\n{what}: the counts\n")
        _table(counts)
        print(f"\n{what}: captions, CIDEr\n")
        for runs in (_runs(study, f"{asked}captions-both-1-"), counts["all"]):
            for name in (n for n in (runs[0] if runs else ()) if n.endswith("_cider")):
                print(
                    f"- {name.removesuffix('_cider')}: {_cell(runs, name)}, shuffled {runs[0][name]['chance']:.2f}"
                )


def _runs(study: Path, begins: str) -> Runs:
    return [json.loads(file.read_text()) for file in sorted(study.glob(f"{begins}*.json"))]


def _table(columns: dict[str, Runs]) -> None:
    columns = {name: runs for name, runs in columns.items() if runs}
    heads = [f"{name} ({len(runs)})" for name, runs in columns.items()]
    print("| | chance | " + " | ".join(heads) + " |\n|" + "---|" * (len(heads) + 2))
    chances = columns.get("all", next(iter(columns.values())))[0]
    for name, label in ROWS.items():
        only = {"words alone": TEXT, "video alone": VIDEO}
        cells = [
            _cell(runs, name) if name.startswith(only.get(column, "")) else ""
            for column, runs in columns.items()
        ]
        print(f"| {label} | {chances[name]['chance']:.3f} | {' | '.join(cells)} |")


def _cell(runs: Runs, name: str) -> str:
    """The mean over the seeds (least–most); of one run its 95 % interval."""
    found = [r[name] for r in runs if name in r]
    if not found:
        return ""
    values = [f["value"] for f in found]
    ends = (min(values), max(values)) if len(found) > 1 else (found[0]["low"], found[0]["high"])
    return f"{np.mean(values):.3f} ({ends[0]:.3f}–{ends[1]:.3f})"
