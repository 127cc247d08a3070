"""Byte-level byte-pair encoding: a vocabulary learned from what the library says, or a RoBERTa's.

Sources: Sennrich et al. 2016, section 3.2; Radford et al. 2019, section 2.2; RoBERTa (Liu et al. 2019, section 4.4). No text is
unknown: what the merges do not cover is spelled in bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from multimodal.store import InputError
from multimodal.vocabulary import JOIN, SPECIALS, Vocabulary, count_sentinels, given_text

MOST_PIECES = 30_000
"""Pieces that are learned at most, about as many as BERT has."""
LEAST_COUNT = 2
"""A pair that occurs once is not merged."""
SPACE = "Ġ"
"""The space before a word, as byte-level pieces spell it."""
CLOSING = ".,!?;:'"
"""Marks that follow a word without a space."""
ROBERTAS = {"<pad>": "[PAD]", "<unk>": "[UNK]", "<s>": "[CLS]", "</s>": "[SEP]", "<mask>": "[MASK]"}
"""The specials of a RoBERTa under the names of ours."""


@dataclasses.dataclass(frozen=True)
class BytePairVocabulary(Vocabulary):
    """``merges``: the pairs in the order in which they are merged. A word's first piece begins with its space, ``Ġ``.

    ``lowercase`` holds as in BERT; a RoBERTa's is ``False``.
    """

    merges: tuple[tuple[str, str], ...] = ()

    SPACES_IN_PIECES: ClassVar[bool] = True

    @classmethod
    def learn(cls, texts: Iterable[str], visual: int) -> BytePairVocabulary:
        """The vocabulary of ``texts`` (in any order), in small letters: BERT's specials, all bytes, then merges."""
        tokenizer = _pipeline(models.BPE(), lowercase=True)
        trainer = trainers.BpeTrainer(
            vocab_size=MOST_PIECES, min_frequency=LEAST_COUNT, special_tokens=list(SPECIALS), show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )  # fmt: skip
        tokenizer.train_from_iterator((_spaced(text) for text in texts), trainer)
        return _of_json(json.loads(tokenizer.to_str()), True, visual)

    @classmethod
    def of_roberta(cls, folder: Path, visual: int) -> BytePairVocabulary:
        """The vocabulary of a RoBERTa: its ``tokenizer.json``, else ``vocab.json`` and ``merges.txt``.

        Raises :class:`InputError` where these are missing, or hold no byte-level BPE with RoBERTa's specials.
        """
        file = folder / "tokenizer.json"
        try:
            if file.is_file():
                tokenizer = json.loads(given_text(file))
            else:
                file = folder / "vocab.json"
                pairs = given_text(folder / "merges.txt").splitlines()
                merges = [line for line in pairs if line and not line.startswith("#version")]
                vocabulary = json.loads(given_text(file))
                tokenizer = {"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
            found = _of_json(tokenizer, False, visual)
            if missing := [name for name, own in ROBERTAS.items() if own not in found.words]:
                raise ValueError(f"it lacks {missing[0]}")
        except FileNotFoundError as error:
            raise InputError(
                f"{folder}: holds neither tokenizer.json nor vocab.json and merges.txt; put there what came with the checkpoint"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{file}: is no byte-level BPE of a RoBERTa ({error}); put there the one that came with the checkpoint"
            ) from error
        return found

    def _make_tokenizer(self) -> Tokenizer:
        return _pipeline(models.BPE(dict(self._ids), list(self.merges)), self.lowercase)

    def _stored_tokenizer(self) -> Tokenizer:
        tokenizer = self._make_tokenizer()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        return tokenizer

    def encode(self, text: str) -> list[int]:
        return super().encode(_spaced(text))

    def decode(self, ids: list[int]) -> str:
        words, parts = decoders.ByteLevel(), [[]]
        for i in ids:
            # A special or a visual token is no bytes.
            if i < len(self.words) and i not in self.specials:
                parts[-1].append(self.name(i))
            else:
                parts += [[self.name(i)], []]
        found = (words.decode(part) if n % 2 == 0 else part[0] for n, part in enumerate(parts))
        return " ".join(part.strip() for part in found if part.strip())

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        decoder = decoders.ByteLevel()
        return tuple(decoder.decode([w[len(SPACE) :]]) if w.startswith(SPACE) else "" for w in self.words)

    @cached_property
    def continuing_pieces(self) -> frozenset[int]:
        return frozenset(i for i, w in enumerate(self.words) if w[0] != SPACE and w[0].isalnum())


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a model folder, of word pieces or of byte pairs."""
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if stored["model"].get("type") != "BPE":
        return Vocabulary.load(folder)
    steps = [step["type"] for step in stored["normalizer"]["normalizers"]]
    return _of_json(stored, "Lowercase" in steps)


def _of_json(tokenizer: dict[str, Any], lowercase: bool, visual: int | None = None) -> BytePairVocabulary:
    """The vocabulary of a ``tokenizer.json``; what follows on ``[>]`` are visual tokens."""
    model = tokenizer["model"]
    if model["type"] != "BPE":
        raise ValueError(f"it is a {model['type']}")
    ids = model["vocab"] | {t["content"]: t["id"] for t in tokenizer.get("added_tokens", ())}
    names = sorted(ids, key=ids.__getitem__)
    if [ids[name] for name in names] != list(range(len(names))):
        raise ValueError("its ids are not 0, 1, 2, …")
    words = names[: names.index(JOIN)] if JOIN in names else names
    sentinels = count_sentinels(names) if visual is None else 0
    visual = len(names) - len(words) - 1 - sentinels if visual is None else visual
    merges = (tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"])
    return BytePairVocabulary(
        tuple(ROBERTAS.get(word, word) for word in words),
        visual,
        lowercase,
        None,
        tuple(merges),
        sentinels=sentinels,
    )


def _pipeline(model: models.BPE, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _spaced(text: str) -> str:
    """The text as it stands after other words: with a space before it, but for a mark that closes what was said before."""
    return text if not text or text[0].isspace() or text[0] in CLOSING else f" {text}"
