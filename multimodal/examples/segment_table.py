"""Segments in flat arrays: a corpus of millions of sentences in a few bytes each, without a Python object for a number."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from multimodal.segments import Segment
from multimodal.vocabulary import TrimmedVocabulary, Vocabulary


class _Lists:
    """Lists of whole numbers, one after the other: int32 ``values``, and where each list ends."""

    def __init__(self) -> None:
        self._values, self._ends = array("i"), array("q", [0])

    def append(self, numbers: Iterable[int]) -> None:
        self._values.extend(numbers)
        self._ends.append(len(self._values))

    def lengths(self) -> np.ndarray:
        return np.diff(np.array(self._ends, np.int64))

    def values(self) -> np.ndarray:
        """The numbers of all lists, one after the other."""
        return np.array(self._values, np.int32)

    def replace(self, values: np.ndarray) -> None:
        """Puts other numbers in the place of all of them; the lists keep their lengths."""
        self._values = array("i", values.astype(np.int32).tobytes())

    def __getitem__(self, place: int) -> list[int]:
        return self._values[self._ends[place] : self._ends[place + 1]].tolist()


class SegmentTable(Sequence[Segment]):
    """A sequence of segments and, with a ``vocabulary``, of their word-piece ids.

    A segment comes back without its ``text``: the word ids stand for it.
    """

    def __init__(self, segments: Iterable[Segment] = (), vocabulary: Vocabulary | None = None):
        self._vocabulary = vocabulary
        self._videos: list[str] = []
        self._numbers: dict[str, int] = {}
        self._video, self._times = array("i"), array("d")
        self._tokens, self._clips, self._words = _Lists(), _Lists(), _Lists()
        self.extend(segments)

    def extend(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            number = self._numbers.setdefault(segment.video, len(self._videos))
            if number == len(self._videos):
                self._videos.append(segment.video)
            self._video.append(number)
            self._times.extend((segment.start, segment.end))
            self._tokens.append(segment.tokens)
            self._clips.append(segment.clips)
            self._words.append(self._vocabulary.encode(segment.text) if self._vocabulary else ())

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, place):  # noqa: ANN001, ANN204 - a place alone, no slice
        if not 0 <= place < len(self):
            raise IndexError(place)
        start, end = self._times[2 * place], self._times[2 * place + 1]
        return Segment(
            self.video(place), start, end, "", tuple(self._tokens[place]), tuple(self._clips[place])
        )

    def __iter__(self) -> Iterator[Segment]:
        return (self[place] for place in range(len(self)))

    def video(self, place: int) -> str:
        """The video that a segment is of."""
        return self._videos[self._video[place]]

    def video_numbers(self) -> np.ndarray:
        """The number of the video that each segment is of, int32 [n], in the order in which videos first occur."""
        return np.array(self._video, np.int32)

    def token_counts(self) -> np.ndarray:
        """The number of visual tokens of each segment, int64 [n]."""
        return self._tokens.lengths()

    def word_counts(self) -> np.ndarray:
        """The number of word pieces of each segment, int64 [n]."""
        return self._words.lengths()

    def tokens(self) -> np.ndarray:
        """The visual tokens of all segments, one after the other, int32."""
        return self._tokens.values()

    def words(self) -> np.ndarray:
        """The word-piece ids of all segments, one after the other, int32."""
        return self._words.values()

    def piece_counts(self) -> np.ndarray:
        """How often each word piece of the vocabulary occurs, int64 [word pieces]."""
        return np.bincount(self._words.values(), minlength=len(self._vocabulary.words))

    def trim(self, vocabulary: TrimmedVocabulary) -> None:
        """The word-piece ids become those of a trimmed vocabulary."""
        self._words.replace(vocabulary.trim(self._words.values()))
        self._vocabulary = vocabulary

    def sentences(self) -> Iterator[list[int]]:
        """The word-piece ids of each segment's text."""
        return (self._words[place] for place in range(len(self)))

    def word_ids(self, place: int) -> list[int]:
        """The word-piece ids of a segment's text."""
        return self._words[place]
