"""The questions of an evaluation in words: what each figure measures, what chance is, and which two are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from multimodal.scoring.ranking import RECALLS


@dataclasses.dataclass(frozen=True)
class Question:
    """``figures``: the figures that answer it, each by name with what the model was given. ``better`` and ``worse``: the
    outcome where the first of two is better or worse than the second."""

    title: str
    explained: str
    figures: tuple[tuple[str, str], ...]
    better: str = ""
    worse: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """The questions of one task of the model."""

    title: str
    questions: tuple[Question, ...]


_CLOZE_CHANCE = "Chance: always the most frequent one."
_WITH_VIDEO = ("The video helps", "The video does harm")
_AGAINST_TABLE = ("The model beats the table", "The table beats the model")
_AGAINST_COUNTS = ("The model beats the counts", "The counts beat the model")
_RANKS = (
    *((f"recall_at_{k}", "first" if k == 1 else f"in the first {k}") for k in RECALLS),
    ("median_rank", "median rank, 1 is the best"),
)
_CAPTION_MEASURES = (
    ("bleu_1", "BLEU-1"),
    ("bleu_2", "BLEU-2"),
    ("bleu_3", "BLEU-3"),
    ("bleu_4", "BLEU-4"),
    ("meteor", "METEOR"),
    ("rouge_l", "ROUGE-L"),
    ("cider", "CIDEr, at most 10"),
)
HORIZON_FIGURES = (("next_token", "1.5 s"), ("next_token_at_3_s", "3 s"), ("next_token_at_6_s", "6 s"), ("next_token_at_12_s", "12 s"))  # fmt: skip
_SHUFFLED = "Chance: the same captions shuffled among the moments."


def _figures(prefix: str, ends: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{prefix}_{end}", given) for end, given in ends)


def _zero_shot(kind: str, suffix: str = "") -> tuple[tuple[str, str], ...]:
    name = f"{kind}_zero_shot{suffix}"
    return ((name, "with the video"), (f"{name}_without_video", "without the video (language prior)"))


TASKS = (
    Task(
        "Cloze: predict what is masked",
        (
            Question(
                "Predict a masked word",
                f"One word of a sentence is masked; is the model's likeliest word that one? {_CLOZE_CHANCE}",
                (
                    ("text_cloze_with_video", "with the video"),
                    ("text_cloze_without_video", "words alone"),
                ),
                *_WITH_VIDEO,
            ),
            Question(
                "Predict a masked action or thing",
                f"The same for the words that name an action or a thing of this corpus. {_CLOZE_CHANCE}",
                (
                    ("action_and_thing_text_cloze_with_video", "with the video"),
                    ("action_and_thing_text_cloze_without_video", "words alone"),
                ),
                *_WITH_VIDEO,
            ),
            Question(
                "Predict a masked visual token",
                f"One clip of 1.5 s is masked; is the model's likeliest visual token that of the clip? {_CLOZE_CHANCE}",
                (
                    ("video_cloze_with_text", "with the words"),
                    ("video_cloze_without_text", "video alone"),
                ),
                "The words help",
                "The words do harm",
            ),
            Question(
                "Perplexity of masked words",
                "Among how many equally likely words it is as if the model chose; 1 is certainty, lower is better. Chance: "
                "the frequencies of the words in the training videos.",
                (
                    ("cloze_perplexity_joint_words", "with the video"),
                    ("cloze_perplexity_text_only", "words alone"),
                ),
                *_WITH_VIDEO,
            ),
            Question(
                "Perplexity of masked visual tokens",
                "The same for masked clips. Chance: the frequencies of the tokens in the training videos.",
                (
                    ("cloze_perplexity_joint_tokens", "with the words"),
                    ("cloze_perplexity_video_only", "video alone"),
                ),
                "The words help",
                "The words do harm",
            ),
        ),
    ),
    Task(
        "Alignment of sentence and video",
        (
            Question(
                "Does this sentence belong to this clip?",
                "A sentence with its own clips, or with those of another video (a negative pair): how often the alignment "
                "head is right, and how often the own pair scores above the negative (area under the ROC curve). "
                "Chance: one half.",
                (("alignment_accuracy", "accuracy"), ("alignment_auc", "area under the ROC curve")),
            ),
        ),
    ),
    Task(
        "Visual search: no words of the moment are used",
        (
            Question(
                "Find the moment of a sentence",
                "A sentence is searched for among the visual tokens of the held-out moments; the rank of its own moment. "
                "Chance: a random order.",
                _figures("search", _RANKS),
            ),
            Question(
                "Find the sentence of a moment",
                "The other way: a moment's visual tokens among the held-out sentences. Chance: a random order.",
                _figures("moment_to_text", _RANKS),
            ),
            Question(
                "Find any moment that shows the same",
                "Whether the first moments that are found show the action and the thing of the sentence. Chance: a random "
                "order.",
                (
                    ("search_first_shows_the_same", "the first"),
                    ("search_first_10_show_the_same", "share of the first 10"),
                ),
            ),
            Question(
                "Find the moment of a reference sentence",
                "A sentence that people wrote about these videos, searched for among the moments that they wrote of. "
                "Chance: a random order.",
                _figures("reference_search", _RANKS),
            ),
            Question(
                "Find the reference sentence of a moment",
                "The other way; of several sentences about a moment the best counts. Chance: a random order.",
                _figures("reference_moment_to_text", _RANKS),
            ),
        ),
    ),
    Task(
        "Zero-shot classification: verbs and nouns",
        (
            Question(
                "Tell the words that are said",
                "A word that is said in a moment and one that is not: does the moment's picture rank the first above the "
                "second? The words themselves are not read. Chance: one half.",
                (("said_word", "the model"), ("said_word_counts", "counts of the learned videos")),
                *_AGAINST_COUNTS,
            ),
            Question(
                "Name the action or the thing",
                "The two questions below together. Chance: a uniform guess.",
                (
                    ("verb_and_noun_zero_shot", "the model"),
                    ("verb_and_noun_zero_shot_counts", "counts of the learned videos"),
                ),
                *_AGAINST_COUNTS,
            ),
            Question(
                "Name the action",
                "The likeliest of the known actions at the first blank of the template; the model was never trained on labels. "
                "Chance: a uniform guess.",
                (*_zero_shot("verb"), ("verb_zero_shot_counts", "counts of the learned videos")),
                *_WITH_VIDEO,
            ),
            Question(
                "The action among the five likeliest",
                "The same, top 5. Chance: five uniform guesses.",
                _zero_shot("verb", "_top_5"),
                *_WITH_VIDEO,
            ),
            Question(
                "Name the thing",
                "The same for the known things at the second blank. Chance: a uniform guess.",
                (*_zero_shot("noun"), ("noun_zero_shot_counts", "counts of the learned videos")),
                *_WITH_VIDEO,
            ),
            Question(
                "The thing among the five likeliest",
                "The same, top 5. Chance: five uniform guesses.",
                _zero_shot("noun", "_top_5"),
                *_WITH_VIDEO,
            ),
        ),
    ),
    Task(
        "Next clips",
        tuple(
            Question(
                f"Predict the clip in {seconds}",
                "Whether the likeliest visual token is that of the clip, from the clips up to now. Chance: always the most "
                "frequent token.",
                ((name, "the model"), (f"{name}_counts", "a table of transitions")),
                *_AGAINST_TABLE,
            )
            for name, seconds in HORIZON_FIGURES
        ),
    ),
    Task(
        "Imagined clips",
        (
            Question(
                "Imagine a clip of a sentence",
                "Whether the first clip that a held-out sentence calls for is one that was shown while it was said. Chance: "
                "always the most frequent one.",
                (
                    ("imagined_clip", "the model"),
                    ("imagined_clip_counts", "counts of the learned videos"),
                ),
                *_AGAINST_COUNTS,
            ),
        ),
    ),
    Task(
        "Captions",
        (
            Question(
                "Describe a moment (micro)",
                "The model's caption against what people wrote, or else said, every moment counting alike. "
                f"Not comparable with the other two modes. {_SHUFFLED}",
                (
                    *_figures("caption_micro", _CAPTION_MEASURES),
                    ("caption_micro_cider_of_template", "CIDEr of the filled-in template"),
                    (
                        "caption_micro_cider_of_nearest_neighbour",
                        "CIDEr of the nearest training moment's words",
                    ),
                ),
            ),
            Question(
                "Describe a moment (macro)",
                f"The same score of each video by itself, every video counting alike. {_SHUFFLED}",
                _figures("caption_macro", _CAPTION_MEASURES),
            ),
            Question(
                "Describe a video (paragraph)",
                f"The captions of a video joined into one text, as are its references. {_SHUFFLED}",
                _figures("caption_paragraph", _CAPTION_MEASURES),
            ),
        ),
    ),
)
