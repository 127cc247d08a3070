"""Owns the one id space of the joint model: word pieces, then ``[>]``, then visual tokens.

Word pieces keep the ids of the text checkpoint's own vocabulary. Spoken text goes through the plain WordPiece
tokenizer, so a transcript that happens to hold ``v00012`` or ``[MASK]`` never becomes a visual or special token.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path

from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer

JOIN = "[>]"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def visual_name(token: int) -> str:
    """The string of a visual token: ``v00042``."""
    return f"v{token:05d}"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """``words``: the word pieces, in the order of their ids. ``visual``: how many visual tokens follow ``[>]``."""

    words: tuple[str, ...]
    visual: int

    @classmethod
    def from_file(cls, vocab_txt: Path, visual: int) -> Vocabulary:
        """From a BERT ``vocab.txt`` (one word piece a line)."""
        words = tuple(vocab_txt.read_text(encoding="utf-8").splitlines())
        missing = [s for s in SPECIALS if s not in words]
        assert not missing, f"{vocab_txt} lacks {missing}"
        return cls(words, visual)

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """From a model folder's ``tokenizer.json``."""
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        pieces = tokenizer["model"]["vocab"]
        added = [t["content"] for t in tokenizer["added_tokens"]]
        return cls(tuple(sorted(pieces, key=pieces.get)), sum(1 for t in added if t not in pieces) - 1)

    @property
    def size(self) -> int:
        return len(self.words) + 1 + self.visual

    @property
    def join(self) -> int:
        return len(self.words)

    @property
    def first_visual(self) -> int:
        return len(self.words) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def pad(self) -> int:
        return self._ids["[PAD]"]

    @cached_property
    def cls_id(self) -> int:
        return self._ids["[CLS]"]

    @cached_property
    def sep(self) -> int:
        return self._ids["[SEP]"]

    @cached_property
    def mask(self) -> int:
        return self._ids["[MASK]"]

    @cached_property
    def unknown(self) -> int:
        return self._ids["[UNK]"]

    @cached_property
    def replaceable_words(self) -> tuple[int, ...]:
        """The ids that may stand in for a masked word: no specials, no ``[unused…]`` rows."""
        return tuple(
            i for i, word in enumerate(self.words) if not (word.startswith("[") and word.endswith("]"))
        )

    @cached_property
    def _pieces(self) -> BertWordPieceTokenizer:
        return BertWordPieceTokenizer(vocab=dict(self._ids), lowercase=True)

    def encode(self, text: str) -> list[int]:
        """The word-piece ids of ``text``, with no specials around it and none read out of it."""
        parts = self._pieces._tokenizer
        normal = parts.normalizer.normalize_str(text.encode(errors="replace").decode())
        ids: list[int] = []
        for word, _ in parts.pre_tokenizer.pre_tokenize_str(normal):
            ids += [token.id for token in parts.model.tokenize(word)]
        return ids

    def decode(self, ids: list[int]) -> str:
        """Words from ids: word pieces joined, visual tokens by their names."""
        words: list[str] = []
        for i in ids:
            name = self.name(i)
            if name.startswith("##") and words:
                words[-1] += name[2:]
            else:
                words.append(name)
        return " ".join(words)

    def name(self, i: int) -> str:
        if i < len(self.words):
            return self.words[i]
        return JOIN if i == self.join else visual_name(i - self.first_visual)

    def write(self, folder: Path) -> None:
        """``tokenizer.json`` as `tokenizers` reads it: visual token *i* is the string of :func:`visual_name`."""
        tokenizer: Tokenizer = BertWordPieceTokenizer(vocab=dict(self._ids), lowercase=True)._tokenizer
        names = [JOIN, *(visual_name(i) for i in range(self.visual))]
        tokenizer.add_special_tokens([AddedToken(n, normalized=False) for n in names])
        assert tokenizer.get_vocab_size() == self.size
        tokenizer.save(str(folder / "tokenizer.json"))
