"""The vocabulary of the joint model: word pieces, then ``[>]``, visual tokens and perhaps sentinels, in one id space.

Word pieces keep their ids of the text checkpoint. Spoken text goes through the plain WordPiece tokenizer, so that
``v00012`` or ``[MASK]`` in a transcript never becomes a visual or special token.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer
from tokenizers.processors import TemplateProcessing

from multimodal.store import InputError

JOIN = "[>]"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEMPLATE = "now let me show you how to [MASK] the [MASK]."
"""VideoBERT, section 4.3: the first blank gives the verb, the second the noun."""
LARGEST_TOKENIZER = 32 << 20
"""Bytes of a tokenizer's file; that of XLM-R, with 250,000 word pieces, has 9 million."""


SENTINEL = "<extra_id_"
"""How the names of sentinels begin, as T5's do."""


def visual_name(token: int) -> str:
    """The name of a visual token: ``v00042`` for 42."""
    return f"v{token:05d}"


def given_text(file: Path) -> str:
    """The text of a tokenizer's file from outside. Raises ValueError for one beyond :data:`LARGEST_TOKENIZER`, before it is read."""
    if file.stat().st_size > LARGEST_TOKENIZER:
        raise ValueError(f"it has more than {LARGEST_TOKENIZER} bytes")
    return file.read_text(encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """``words``: the word pieces in the order of their ids. ``visual``: the number of visual tokens after ``[>]``.

    ``lowercase`` and ``strip_accents`` (``None``: as ``lowercase``) are BERT's normalization of text. ``sentinels``: the number
    of the entries behind all others that stand for spans of hidden tokens (T5).
    """

    words: tuple[str, ...]
    visual: int
    lowercase: bool = True
    strip_accents: bool | None = None
    sentinels: int = dataclasses.field(default=0, kw_only=True)

    SPACES_IN_PIECES: ClassVar[bool] = False
    """Whether the space before a word is part of it, so that one before a visual token has to be taken away."""

    @classmethod
    def of_bert(cls, folder: Path, visual: int) -> Vocabulary:
        """The vocabulary of a BERT text checkpoint: its ``tokenizer.json``, else its ``vocab.txt``.

        A ``tokenizer_config.json`` beside ``vocab.txt`` (one word piece a line) gives the normalization. Raises
        :class:`InputError` where both files are missing, or hold no WordPiece vocabulary of a BERT.
        """
        file = folder / "tokenizer.json"
        try:
            if file.is_file():
                words, text = _read_tokenizer(json.loads(given_text(file)))
            else:
                file = folder / "vocab.txt"
                words = given_text(file).removesuffix("\n").split("\n")
                beside = folder / "tokenizer_config.json"
                text = json.loads(given_text(beside)) if beside.is_file() else {}
                text = {
                    "lowercase": text.get("do_lower_case", True),
                    "strip_accents": text.get("strip_accents"),
                }
            _check_words(words)
        except FileNotFoundError as error:
            raise InputError(
                f"{folder}: holds neither tokenizer.json nor vocab.txt; put there the one that came with the checkpoint"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{file}: is no WordPiece vocabulary of a BERT ({error}); put there the one that came with the checkpoint"
            ) from error
        return cls(tuple(words), visual, **text)

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """The vocabulary that :meth:`write` stored in a model folder."""
        words, text = _read_tokenizer(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
        join, sentinels = words.index(JOIN), count_sentinels(words)
        return cls(tuple(words[:join]), len(words) - join - 1 - sentinels, **text, sentinels=sentinels)

    @property
    def size(self) -> int:
        return len(self.words) + 1 + self.visual + self.sentinels

    @property
    def join(self) -> int:
        return len(self.words)

    @property
    def first_visual(self) -> int:
        return len(self.words) + 1

    @property
    def visual_ids(self) -> slice:
        """The place of the visual tokens among all ids."""
        return slice(self.first_visual, self.first_visual + self.visual)

    def sentinel(self, number: int) -> int:
        """The id of a sentinel; they count down from the end of the vocabulary."""
        assert 0 <= number < self.sentinels, f"sentinel {number} of {self.sentinels}"
        return self.size - 1 - number

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
    def specials(self) -> frozenset[int]:
        """The ids of ``[CLS]``, ``[SEP]``, ``[MASK]``, ``[PAD]``, ``[UNK]`` and ``[>]``."""
        return frozenset(self._ids[s] for s in SPECIALS) | {self.join}

    @cached_property
    def replaceable_words(self) -> tuple[int, ...]:
        """The ids of the random replacements of masked words: all word pieces without specials and ``[unused…]`` rows."""
        return tuple(
            i for i, word in enumerate(self.words) if not (word.startswith("[") and word.endswith("]"))
        )

    @cached_property
    def continuing_pieces(self) -> frozenset[int]:
        """The ids of the word pieces that continue a word: those that begin with ``##``."""
        return frozenset(i for i, word in enumerate(self.words) if word.startswith("##"))

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        """The word that each word piece is by itself; of one that continues a word, its name."""
        return self.words

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self._make_tokenizer()

    def _make_tokenizer(self) -> Tokenizer:
        """The tokenizer of text alone, without ``[>]`` and visual tokens."""
        return BertWordPieceTokenizer(
            vocab=dict(self._ids), lowercase=self.lowercase, strip_accents=self.strip_accents
        )._tokenizer

    def _stored_tokenizer(self) -> Tokenizer:
        """The same, as it is written for those who call it with a text as it stands."""
        return self._make_tokenizer()

    def encode(self, text: str) -> list[int]:
        """The word-piece ids of ``text``: no special token is added, and none is recognised in the text."""
        # The parts of the tokenizer are called one by one: `encode` would recognise "[MASK]" in the text.
        parts = self._tokenizer
        normal = parts.normalizer.normalize_str(text.encode(errors="replace").decode())
        ids: list[int] = []
        for word, _ in parts.pre_tokenizer.pre_tokenize_str(normal):
            ids += [token.id for token in parts.model.tokenize(word)]
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids: word pieces joined to words, visual tokens by their names."""
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
        if i >= self.visual_ids.stop:
            return f"{SENTINEL}{self.size - 1 - i}>"
        return JOIN if i == self.join else visual_name(i - self.first_visual)

    def write(self, folder: Path) -> None:
        """``tokenizer.json`` and its configuration, as `tokenizers` and `transformers.AutoTokenizer` read them.

        Visual token *i* has the name :func:`visual_name` (*i*). A pair (words, visual tokens) becomes the sequence of
        the model, ``[CLS] words [>] visual tokens [SEP]``, with its token types.
        """
        tokenizer, lstrip = self._stored_tokenizer(), self.SPACES_IN_PIECES
        if lstrip:
            tokenizer.add_special_tokens(
                [AddedToken(s, normalized=False, lstrip=s == "[MASK]") for s in SPECIALS]
            )
        tokenizer.add_special_tokens([AddedToken(JOIN, normalized=False, lstrip=lstrip)])
        visual_names = [visual_name(i) for i in range(self.visual)]
        tokenizer.add_tokens(
            [AddedToken(n, normalized=False, single_word=True, lstrip=lstrip) for n in visual_names]
        )
        sentinels = [self.name(i) for i in range(self.visual_ids.stop, self.size)]
        tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in sentinels])
        assert tokenizer.get_vocab_size() == self.size
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair=f"[CLS] $A {JOIN}:1 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", self.cls_id), ("[SEP]", self.sep), (JOIN, self.join)],
        )
        tokenizer.save(str(folder / "tokenizer.json"))
        names = {f"{s.strip('[]').lower()}_token": s for s in SPECIALS}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": self.lowercase} | names
        config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


@dataclasses.dataclass(frozen=True)
class TrimmedVocabulary(Vocabulary):
    """Some word pieces of a ``full`` vocabulary, with all its visual tokens: what a training reads and predicts.

    ``kept`` are their ids in the full vocabulary, in order; the specials are among them. Text is cut into the pieces of the
    full vocabulary; those that are not kept become ``[UNK]``.
    """

    full: Vocabulary | None = None
    kept: tuple[int, ...] = ()

    @classmethod
    def of(cls, full: Vocabulary, said: Iterable[int]) -> TrimmedVocabulary:
        """The pieces ``said`` (ids of ``full``) and the specials."""
        kept = tuple(sorted({*said, *(full.specials - {full.join})}))
        words = tuple(full.words[i] for i in kept)
        return cls(
            words, full.visual, full.lowercase, full.strip_accents, full, kept, sentinels=full.sentinels
        )

    def encode(self, text: str) -> list[int]:
        return self.trim(np.array(self.full.encode(text), np.int64)).tolist()

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        return tuple(self.full.spellings[i] for i in self.kept)

    @cached_property
    def continuing_pieces(self) -> frozenset[int]:
        return frozenset(n for n, i in enumerate(self.kept) if i in self.full.continuing_pieces)

    @cached_property
    def _place_W(self) -> np.ndarray:
        place_W = np.full(len(self.full.words), self.unknown)
        place_W[list(self.kept)] = np.arange(len(self.kept))
        return place_W

    def trim(self, ids: np.ndarray) -> np.ndarray:
        """The ids here of word pieces of the full vocabulary."""
        return self._place_W[ids]


def count_sentinels(names: Iterable[str]) -> int:
    """The number of sentinels among the names of a stored tokenizer."""
    return sum(name.startswith(SENTINEL) for name in names)


def _read_tokenizer(tokenizer: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The strings of a ``tokenizer.json`` in the order of their ids, and its normalization of text."""
    model, normal = tokenizer["model"], tokenizer["normalizer"]
    if model.get("type", "WordPiece") != "WordPiece" or normal["type"] != "BertNormalizer":
        raise ValueError(f"it is a {model.get('type')} with a {normal['type']}")
    ids = model["vocab"] | {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    words = sorted(ids, key=ids.__getitem__)
    if [ids[w] for w in words] != list(range(len(words))):
        raise ValueError("its ids are not 0, 1, 2, …")
    return words, {key: normal[key] for key in ("lowercase", "strip_accents")}


def _check_words(words: list[str]) -> None:
    """Raises ``ValueError`` where these are not the word pieces of a BERT."""
    if missing := [s for s in SPECIALS if s not in words]:
        raise ValueError(f"it lacks {missing[0]}")
    if len(set(words)) < len(words):
        raise ValueError("a word piece is in it twice")
    if JOIN in words:
        raise ValueError(f"it holds {JOIN}, so it is of a joint model")
