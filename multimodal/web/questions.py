"""Owns the words for the figures of an evaluation: which question each one answers, and which belong side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Question:
    """``sides``: the figures that answer it, each by name with what was given; ``better`` and ``worse`` say which of two won."""

    title: str
    explained: str
    sides: tuple[tuple[str, str], ...]
    better: str = ""
    worse: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """Questions that belong together."""

    title: str
    questions: tuple[Question, ...]


_CLOZE_CHANCE = "Chance: always saying the most frequent one."
_SIGHT = ("Seeing the picture helps", "Seeing the picture does harm")
_TABLE = ("The model beats the table", "The table beats the model")
RECALLS = (1, 5, 10)
_PLACES = (
    *((f"recall_at_{k}", "in the first place" if k == 1 else f"in the first {k}") for k in RECALLS),
    ("median_rank", "middle place, 1 is the best"),
)
_MEASURES = (
    ("bleu_1", "BLEU-1"),
    ("bleu_2", "BLEU-2"),
    ("bleu_3", "BLEU-3"),
    ("bleu_4", "BLEU-4"),
    ("meteor", "METEOR"),
    ("rouge_l", "ROUGE-L"),
    ("cider", "CIDEr, at most 10"),
)
HORIZONS = (("next_token", "1.5 s"), ("next_token_at_3_s", "3 s"), ("next_token_at_6_s", "6 s"), ("next_token_at_12_s", "12 s"))  # fmt: skip
_DEALT = "Chance: the same captions dealt out to the moments at random."


def _named(prefix: str, ends: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{prefix}_{end}", given) for end, given in ends)


def _zero_shot(kind: str, suffix: str = "") -> tuple[tuple[str, str], ...]:
    name = f"{kind}_zero_shot{suffix}"
    return ((name, "seeing the picture"), (f"{name}_without_video", "guessing with eyes shut"))


TASKS = (
    Task(
        "Cloze: find what is hidden",
        (
            Question(
                "Find a hidden word",
                f"One word of a sentence is covered; does the model name exactly that word? {_CLOZE_CHANCE}",
                (
                    ("text_cloze_with_video", "seeing the picture"),
                    ("text_cloze_without_video", "words alone"),
                ),
                *_SIGHT,
            ),
            Question(
                "Find a hidden action or thing",
                f"The same, only for words that name an action or a thing of this corpus. {_CLOZE_CHANCE}",
                (
                    ("action_and_thing_text_cloze_with_video", "seeing the picture"),
                    ("action_and_thing_text_cloze_without_video", "words alone"),
                ),
                *_SIGHT,
            ),
            Question(
                "Find a hidden visual token",
                f"One clip of 1.5 s is covered; does the model name its visual token? {_CLOZE_CHANCE}",
                (
                    ("video_cloze_with_text", "hearing the words"),
                    ("video_cloze_without_text", "picture alone"),
                ),
                "Hearing the words helps",
                "Hearing the words does harm",
            ),
            Question(
                "How surprised is it by hidden words?",
                "Perplexity: among how many equally likely words it is as if the model chose; 1 is certainty, lower is "
                "better. Chance: the frequencies of the words that it learned from.",
                (
                    ("cloze_perplexity_joint_words", "seeing the picture"),
                    ("cloze_perplexity_text_only", "words alone"),
                ),
                *_SIGHT,
            ),
            Question(
                "How surprised is it by hidden visual tokens?",
                "The same for covered clips. Chance: the frequencies of the tokens that it learned from.",
                (
                    ("cloze_perplexity_joint_tokens", "hearing the words"),
                    ("cloze_perplexity_video_only", "picture alone"),
                ),
                "Hearing the words helps",
                "Hearing the words does harm",
            ),
        ),
    ),
    Task(
        "Alignment: what belongs together",
        (
            Question(
                "Does this sentence belong to this picture?",
                "A sentence is shown with its own picture or with a stranger's; yes or no, and how often its own is held "
                "for likelier than a stranger's (area under the ROC curve). Chance: a coin.",
                (("alignment_accuracy", "yes or no"), ("alignment_auc", "which is likelier")),
            ),
        ),
    ),
    Task(
        "Search by sight alone",
        (
            Question(
                "Find the moment of a sentence",
                "A sentence is looked up among the pictures of all held-out moments; is its own among the first? "
                "Chance: a blind draw.",
                _named("search", _PLACES),
            ),
            Question(
                "Find the sentence of a moment",
                "The other way: a picture is looked up among all held-out sentences. Chance: a blind draw.",
                _named("moment_to_text", _PLACES),
            ),
            Question(
                "Find any moment that shows the same",
                "A sentence is looked up by sight; do the first moments show the action and the thing that the sentence "
                "is about? Chance: a blind draw.",
                (
                    ("search_first_shows_the_same", "the first place"),
                    ("search_first_10_show_the_same", "share of the first 10"),
                ),
            ),
            Question(
                "Find the moment of a reference sentence",
                "What people wrote about these videos, looked up among the pictures of the moments that they wrote of. "
                "Chance: a blind draw.",
                _named("reference_search", _PLACES),
            ),
            Question(
                "Find the reference sentence of a moment",
                "The other way; of several sentences about a moment the best counts. Chance: a blind draw.",
                _named("reference_moment_to_text", _PLACES),
            ),
        ),
    ),
    Task(
        "Verbs and nouns, never taught as labels",
        (
            Question(
                "Name the action that is seen",
                "The model picks one of the known actions for a picture; it was never taught their names as labels. "
                "Chance: a blind pick.",
                _zero_shot("verb"),
                *_SIGHT,
            ),
            Question(
                "Name the action in five guesses",
                "The same with five picks. Chance: five blind picks.",
                _zero_shot("verb", "_top_5"),
                *_SIGHT,
            ),
            Question(
                "Name the thing that is seen",
                "The same for the known things. Chance: a blind pick.",
                _zero_shot("noun"),
                *_SIGHT,
            ),
            Question(
                "Name the thing in five guesses",
                "The same with five picks. Chance: five blind picks.",
                _zero_shot("noun", "_top_5"),
                *_SIGHT,
            ),
        ),
    ),
    Task(
        "Next clips",
        tuple(
            Question(
                f"What comes in {seconds}?",
                "The visual token that is shown so far ahead, from the clips up to now. Chance: always saying the most "
                "frequent token.",
                ((name, "the model"), (f"{name}_bigram_table", "a table of transitions")),
                *_TABLE,
            )
            for name, seconds in HORIZONS
        ),
    ),
    Task(
        "Captions",
        (
            Question(
                "Describe a moment (micro)",
                "How near the model's caption is to what people wrote, or else said, every moment counting alike. "
                f"Not comparable with the other two modes. {_DEALT}",
                (
                    *_named("caption_micro", _MEASURES),
                    ("caption_micro_cider_of_template", "CIDEr of the filled-in template"),
                    (
                        "caption_micro_cider_of_nearest_neighbour",
                        "CIDEr of the nearest learned moment's words",
                    ),
                ),
            ),
            Question(
                "Describe a moment (macro)",
                f"The same score of each video by itself, every video counting alike. {_DEALT}",
                _named("caption_macro", _MEASURES),
            ),
            Question(
                "Describe a video (paragraph)",
                f"The captions of a video one after the other, against all that was written of it. {_DEALT}",
                _named("caption_paragraph", _MEASURES),
            ),
        ),
    ),
)
