"""Pieces of words: those of the text start where it knows the library's script, else byte pairs learned from the library."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from multimodal.catalogue import Catalogue, Video
from multimodal.examples.segment_table import SegmentTable
from multimodal.joint.options import Shape
from multimodal.library import stored_transcript
from multimodal.names import listed
from multimodal.store import Store
from multimodal.systems import BYTE_BPE
from multimodal.training import checkpoints
from multimodal.training.options import PretrainOptions
from multimodal.vocabulary import Vocabulary

MOST_UNKNOWN = 0.1
"""Share of unknown pieces up to which the text start's own are kept: what it learned from its texts is worth more."""
LEAST_FOREIGN = 0.05
"""Share of letters outside of the Latin script below which no piece is counted: the usual vocabularies know all of Latin."""
LATIN_ENDS = 0x250
MOST_NAMED = 5
"""Videos that a line names."""
NOTE = "{share:.0%} of the pieces of its words are unknown to the model"
"""What a video's reason says of them."""
NOTED = re.compile("(?:; )?" + NOTE.format(share=0).replace("0%", r"\d+%"))


def suited(
    store: Store, videos: Sequence[Video], options: PretrainOptions, start: Path
) -> tuple[PretrainOptions, str]:
    """The options with the pieces that suit what ``videos`` say, and a line where they are not those of the folder ``start``."""
    said = tuple((v.video, v.transcript) for v in videos if v.transcript)
    share = unknown_share(store, said, start)
    if share <= MOST_UNKNOWN:
        return options, ""
    return with_byte_pairs(options), (
        f"{share:.0%} of the pieces of what is said are unknown to {options.text_start}: byte pairs are learned from the "
        f"library, and the model begins with random weights; --tokenizer wordpiece keeps {options.text_start}"
    )


def with_byte_pairs(options: PretrainOptions) -> PretrainOptions:
    """The options with byte pairs that are learned from the library. They have no text start, so the layers begin with random
    weights."""
    system = dataclasses.replace(options.system, tokenizer=BYTE_BPE)
    return dataclasses.replace(
        options.with_random_weights(options.shape or Shape()), system=system, choose_tokenizer=False
    )


@functools.lru_cache(maxsize=4)
def unknown_share(store: Store, transcripts: tuple[tuple[str, str], ...], start: Path) -> float:
    """The share of [UNK] among the pieces of ``transcripts`` (video, recipe) by the vocabulary of the folder ``start``; 0 where
    nearly all letters are Latin, and then the vocabulary is not read."""
    texts = [s.text for names in transcripts for s in stored_transcript(store.transcript(*names)).sentences]
    letters = foreign = 0
    for text in texts:
        own = [ord(c) >= LATIN_ENDS for c in text if c.isalpha()]
        letters, foreign = letters + len(own), foreign + sum(own)
    if not letters or foreign < LEAST_FOREIGN * letters:
        return 0.0
    vocabulary = Vocabulary.of_bert(start, 1)
    pieces = [piece for text in texts for piece in vocabulary.encode(text)]
    return pieces.count(vocabulary.unknown) / max(len(pieces), 1)


def told_unknown(unknown: Mapping[str, float], videos: Sequence[Video]) -> str:
    """A line about the videos whose words have unknown pieces; empty where there are none."""
    if not unknown:
        return ""
    by_share = sorted(unknown, key=unknown.__getitem__, reverse=True)
    names = {video.video: video.name for video in videos}
    named = listed(
        [f"{names.get(video, video[:12])} ({unknown[video]:.0%})" for video in by_share], MOST_NAMED
    )
    return f"unknown pieces of words, of which nothing is learned: {named}; --tokenizer byte-bpe knows all"


def unknown_pieces(store: Store, catalogue: Catalogue) -> str:
    """The line of :func:`told_unknown` for the model in use; empty where there is no model."""
    return told_unknown(_unknown_to_model(store, catalogue), catalogue.videos())


def note_unknown_pieces(store: Store, catalogue: Catalogue) -> None:
    """Says in each video's reason which share of its pieces the model in use does not know; what was said of another goes."""
    unknown = _unknown_to_model(store, catalogue)
    changed = []
    for video in catalogue.videos():
        note = [NOTE.format(share=unknown[video.video])] if video.video in unknown else []
        reason = "; ".join([*filter(None, [NOTED.sub("", video.reason)]), *note])
        if reason != video.reason:
            changed.append(dataclasses.replace(video, reason=reason))
    if changed:
        catalogue.record([], changed)


def _unknown_to_model(store: Store, catalogue: Catalogue) -> dict[str, float]:
    """The shares of :func:`unknown_by_video`, as the card of the model in use has them."""
    name = catalogue.current("model")
    folder = checkpoints.latest(store.model(name)) if name else None
    if folder is None:
        return {}
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # which is the store's fault, not the words'
    return card.get("unknown_pieces", {})


def unknown_by_video(unknown: int, *tables: SegmentTable) -> dict[str, float]:
    """The videos of whose pieces more than :data:`MOST_UNKNOWN` are unknown, each with the share.

    ``unknown``: the id of such a piece. ``tables``: spoken segments, those of a video all in one table.
    """
    counts: dict[str, list[int]] = {}
    for spoken in tables:
        if not spoken.piece_counts()[unknown]:
            continue
        for place in range(len(spoken)):
            pieces = spoken.word_ids(place)
            total = counts.setdefault(spoken.video(place), [0, 0])
            total[0] += pieces.count(unknown)
            total[1] += len(pieces)
    shares = {video: missing / max(total, 1) for video, (missing, total) in counts.items()}
    return {video: share for video, share in shares.items() if share > MOST_UNKNOWN}
