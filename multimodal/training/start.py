"""The start of a model: a BERT, known by name or in a folder, or a joint model of another library that is gone on from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from multimodal import names
from multimodal.byte_pairs import load_vocabulary
from multimodal.catalogue import Catalogue
from multimodal.codebook_in_use import told_features
from multimodal.joint.bert_checkpoint import is_roberta, weights_file
from multimodal.joint.initialization import carried_rows
from multimodal.joint.options import ModelOptions
from multimodal.library import same_features
from multimodal.machine import refused_by_machine
from multimodal.objectives.objective import TERM_FILE, Objective
from multimodal.objectives.pretraining import bias_of
from multimodal.store import (
    VERSION_FILE,
    DamagedFile,
    InputError,
    Store,
    changed_files,
    file_digest,
    is_published,
)
from multimodal.systems import BYTE_BPE, PARTS, System
from multimodal.tokens import ELSEWHERE, codebook_in, features_of, load_codebook
from multimodal.training.checkpoints import latest
from multimodal.training.options import NEAREST, NOTHING, TEXT_STARTS, PretrainOptions
from multimodal.vocabulary import Vocabulary, given_text
from multimodal.weights import fetching
from vision.codebook import Codebook
from vision.errors import ModelError

WORDS_FROM_SCRATCH = "minilm-l6"
"""A model trained from scratch still needs word pieces: BERT's own, 30,522 of them."""
FROM_FOLDER = {"bert-base-uncased": "base", "bert-large-uncased": "paper"}
"""BERTs that no place serves to us, and the size that begins with each: the user has to say where one lies."""
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "vocab.json", "merges.txt")
CARD, EXPORT, EXPORTED_CODEBOOK = "card.json", "export.json", "codebook"
"""The card of a model folder; what an exported folder has beside the model's files."""
OF_THE_DATA = ("masking", "sequences")
"""The parts of a system that shape no weight: a model may go on with others."""


def start_of(options: PretrainOptions) -> Path | None:
    """The folder that a model takes its words from, and its first weights; ``None`` where words are learned from the library.

    Raises what :func:`text_start` raises, and :class:`InputError` where the folder's pieces are not of the system's kind, or
    it is a joint model of another system.
    """
    if options.text_start == NOTHING and options.system.tokenizer == BYTE_BPE:
        return None
    folder = text_start(options.text_start)
    if (joint := joint_start(options)) is not None:
        joint.check_system(options.system)
    elif options.text_start != NOTHING:
        options.check_tokenizer(roberta=is_roberta(folder))
    return folder


def check_start(store: Store, options: PretrainOptions) -> None:
    """Raises what :func:`start_of` raises, and :class:`InputError` where the start is a joint model that cannot be gone on from:
    the store's own by the name of the store, one that was altered, or of another shape than the training asks for."""
    if (joint := joint_start(options)) is not None:
        joint.check(store, options)
    start_of(options)


def text_start(name: str) -> Path:
    """The folder that a name or path given as ``--text-start`` means: of a BERT that is known by name, a folder in Hugging Face
    layout, a model folder, or the model in use of a store; for ``none`` that of the words.

    Raises :class:`InputError` where it is none of these, or no place has it.
    """
    if name in (*TEXT_STARTS, NOTHING):
        return fetching.fetch(WORDS_FROM_SCRATCH if name == NOTHING else name).parent
    layout = "in Hugging Face layout (config.json, its weights, tokenizer.json or vocab.txt)"
    if name in FROM_FOLDER:
        raise InputError(
            f"{name}, which --size {FROM_FOLDER[name]} starts from: is not fetched by its name; say --text-start FOLDER, where it "
            f"lies {layout}, or --text-start {' or '.join((*TEXT_STARTS, NOTHING))}"
        )
    folder = Path(name)
    if (folder / VERSION_FILE).is_file():
        return _model_in_use(folder)
    if (last := latest(folder)) is not None:
        return last
    if not (folder / "config.json").is_file():
        near = names.did_you_mean(name, (*TEXT_STARTS, NOTHING))
        raise InputError(
            f"--text-start {name}: {'has no config.json' if folder.is_dir() else 'is no folder here'}{near}; name "
            f"{', '.join(TEXT_STARTS)} or {NOTHING}, or the folder of a BERT {layout}"
        )
    return folder


def _model_in_use(root: Path) -> Path:
    store = Store(root, create=False)
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        name = catalogue.current("model") or catalogue.current("next_model")
    folder = latest(store.model(name)) if name else None
    if folder is None:
        raise InputError(
            f"--text-start {root}: is a store without a model; run `videobert run VIDEOS` there, or name another"
        )
    return folder


def told_start(options: PretrainOptions) -> str:
    """The start as a card tells it, which is made to be passed on: a folder by its name and content, not by its path."""
    if options.text_start in (*TEXT_STARTS, NOTHING):
        return options.text_start
    joint = joint_start(options)
    name = Path(options.text_start).name if joint is None else f"model {joint.name}"
    return f"{name} (sha256 {_digest(text_start(options.text_start))[:12]})"


def start_for_address(options: PretrainOptions, codebook: str) -> str:
    """The start as the address of a model counts it: by its content, wherever it lies. Of a joint model under another codebook
    it counts how the visual tokens begin."""
    if options.text_start == NOTHING:
        return NOTHING
    folder = text_start(options.text_start)
    joint = joint_start(options)
    other = joint is not None and joint.codebook != codebook
    return _digest(folder) + (f" {options.visual_start}" if other else "")


def _digest(checkpoint: Path) -> str:
    files = [checkpoint / "config.json", weights_file(checkpoint)]
    files += [checkpoint / name for name in (*VOCABULARY_FILES, TERM_FILE) if (checkpoint / name).is_file()]
    return hashlib.sha256(" ".join(map(file_digest, files)).encode()).hexdigest()


def joint_start(options: PretrainOptions) -> JointStart | None:
    """The joint model that a training goes on from; ``None`` where it begins with a BERT or random weights.

    Raises what :func:`text_start` raises, and :class:`InputError` where its card cannot be read.
    """
    if options.text_start in (*TEXT_STARTS, NOTHING):
        return None
    folder = text_start(options.text_start)
    return JointStart(options.text_start, folder) if (folder / CARD).is_file() else None


@dataclasses.dataclass(frozen=True)
class JointStart:
    """A joint model to go on from: ``folder`` holds it, ``given`` is what ``--text-start`` says."""

    given: str
    folder: Path

    @cached_property
    def card(self) -> dict[str, Any]:
        """The model's ``card.json``: what it was made from."""
        return self._json(CARD)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(given_text(self.folder / name))
            if not isinstance(found, dict):
                raise ValueError("it is no object")
            return found
        except (OSError, ValueError, RecursionError) as error:
            raise self._refused(f"its {name} cannot be read ({error})", "copy the folder again") from error

    def _refused(self, what: str, remedy: str) -> InputError:
        return InputError(f"--text-start {self.given}: {what}; {remedy}")

    @cached_property
    def name(self) -> str:
        """The model's own name."""
        if (self.folder / EXPORT).is_file():
            return str(self._json(EXPORT).get("model"))
        return self.folder.parent.name

    @property
    def codebook(self) -> str | None:
        """The digest of its codebook, where the card, or what lies beside it in an exported folder, says it."""
        found = (self._json(EXPORT) if (self.folder / EXPORT).is_file() else self.card).get("codebook")
        return found if isinstance(found, str) and found == Path(found).name else None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Raises :class:`InputError` where it is not there, or is none of a joint model."""
        try:
            given_text(self.folder / "tokenizer.json")
            return load_vocabulary(self.folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._refused(
                f"its tokenizer.json is no vocabulary of a joint model ({error})", "copy the folder again"
            ) from error

    def check_system(self, wanted: System) -> None:
        """Raises :class:`InputError` where the weights are those of another system."""
        try:
            own = System(**self.card.get("options", {}).get("system", {}))
        except (TypeError, AttributeError, InputError) as error:
            raise self._refused(f"its system is not known here ({error})", "upgrade videobert") from error
        for name in PARTS:
            there, here = getattr(own, name), getattr(wanted, name)
            hides = name == "mask_unit" and not (own.has_decoder or wanted.has_decoder)
            if there != here and name not in OF_THE_DATA and not hides:
                option = PARTS[name].metadata["option"]
                raise self._refused(
                    f"was trained as --system {own.name} with {option} {there}, and this run is --system {wanted.name} with "
                    f"{here}",
                    f"say --system {own.name}, or name another",
                )

    def check(self, store: Store, options: PretrainOptions) -> None:
        """Raises :class:`InputError` where it is the model in use of ``store`` itself, is not as it was written, or has another
        shape than the training asks for. No weight is read but to compare its digest."""
        if Path(self.given).resolve() == store.root.resolve():
            raise self._refused(
                "is this store itself, whose model changes with each training",
                f"name the model's folder, {self.folder}",
            )
        if not is_published(self.folder):
            raise self._refused(
                "has no manifest.json, so nothing says whether it is whole", "copy the whole folder"
            )
        if changed := changed_files(self.folder):
            raise self._refused(f"{changed[0]} is not as it was written", "copy the folder again")
        self.vocabulary  # noqa: B018 - raises where it is none
        try:
            shape = ModelOptions.load(self.folder)
        except (OSError, ValueError, TypeError) as error:
            raise self._refused(
                f"its config.json cannot be read ({error})", "copy the folder again"
            ) from error
        there = (shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads)
        if options.shape is not None:
            asked = (options.shape.layers, options.shape.hidden, options.shape.heads)
            if there != asked:
                one, other = ("{} layers × {} with {} heads".format(*part) for part in (there, asked))
                raise self._refused(f"has {one}, and the training asks for {other}", "name one of that shape")
        options.system.check_width(shape.hidden_size)
        if shape.max_position_embeddings < options.examples.longest:
            raise self._refused(
                f"has {shape.max_position_embeddings} positions, examples have up to {options.examples.longest} tokens",
                "start from a model with more",
            )

    def visual_tokens(self, store: Store, codebook: str, how: str) -> np.ndarray:
        """int64 [K]: for each token of the store's codebook that of the start whose row it takes, -1 where it begins anew.

        The same codebook by its digest gives each its own. Raises :class:`InputError` where none can be near: the codebook
        of the start is not there or damaged, a codebook has no centroids, or the features were made in another way.
        """
        own, remedy = (
            load_codebook(store, codebook),
            "say --visual-start new, with which all visual tokens begin anew",
        )
        if self.codebook != codebook and how != NEAREST:
            return np.full(len(own.used_), -1)
        other, made = (own, {}) if self.codebook == codebook else self._read_codebook(remedy)
        if len(other.used_) != self.vocabulary.visual:
            raise self._refused(
                f"its codebook has {len(other.used_)} tokens, its vocabulary {self.vocabulary.visual}", remedy
            )
        if other is own:
            return np.arange(len(own.used_))
        ours = features_of(store, codebook)
        if not same_features(ours, made):
            raise self._refused(
                f"its visual tokens are of other features ({told_features(made)}) than those of this store "
                f"({told_features(ours)})",
                remedy,
            )
        try:
            return own.leaves_in(other)
        except ModelError as error:
            raise self._refused(f"its visual tokens cannot be compared ({error})", remedy) from error

    def _read_codebook(self, remedy: str) -> tuple[Codebook, dict[str, Any]]:
        """Its codebook, and what made the features that this was fitted on."""
        exported = self.folder / EXPORTED_CODEBOOK
        try:
            if exported.is_dir():
                made = json.loads(given_text(exported / "codebook.json"))[ELSEWHERE]["features"]
                return codebook_in(exported), dict(made)
            root = self.folder.absolute().parents[2]
            if self.codebook is None or not (root / VERSION_FILE).is_file():
                raise FileNotFoundError("it is not beside the model")
            other = Store(root, create=False)
            return load_codebook(other, self.codebook), features_of(other, self.codebook)
        except (
            DamagedFile,
            ModelError,
            SafetensorError,
            OSError,
            ValueError,
            LookupError,
            TypeError,
        ) as error:
            cause = error.cause if isinstance(error, DamagedFile) else error
            raise self._refused(f"its codebook cannot be read ({cause})", remedy) from error

    def load_terms(self, objective: Objective, vocabulary: Vocabulary, from_K: torch.Tensor) -> None:
        """Puts the parameters that its terms own into those of an objective with the visual tokens of ``vocabulary``."""
        file = self.folder / TERM_FILE
        try:
            tensors = load_file(file) if file.exists() else {}
            if (bias := bias_of(tensors)) is not None:
                new = torch.zeros(vocabulary.visual)
                tensors[bias] = carried_rows(tensors[bias], self.vocabulary, from_K, new)
            objective.load_terms(tensors, self.folder)
        except (SafetensorError, RuntimeError, IndexError) as error:
            if refused_by_machine(error):
                raise
            cause = " ".join(str(error).split())[:200]
            raise self._refused(
                f"its {TERM_FILE} cannot be taken over ({cause})", "copy the folder again"
            ) from error

    def about(self, codebook: str, from_K: np.ndarray, held_out: Sequence[str]) -> dict[str, Any]:
        """What a card tells of the start: its name, weights and codebook, how the visual tokens begin, and how many of the
        videos that are held out here it learned from."""
        kept = int((from_K >= 0).sum())
        seen = set(self.card.get("learned", ())) & set(held_out)
        return {
            "model": self.name,
            "sha256": file_digest(weights_file(self.folder)),
            "codebook": self.codebook,
            "same_codebook": self.codebook == codebook,
            "visual_tokens_carried": kept,
            "visual_tokens_anew": len(from_K) - kept,
            "learned_held_out": len(seen),
        }


def told_about(about: dict[str, Any]) -> str:
    """A line of :meth:`JointStart.about`."""
    carried, anew = about["visual_tokens_carried"], about["visual_tokens_anew"]
    how = "of the same codebook" if about["same_codebook"] else "from their nearest of another codebook"
    line = (
        f"goes on from the joint model {about['model']} (sha256 {about['sha256'][:12]}): {carried} visual tokens {how}, "
        f"{anew} begin anew"
    )
    if about["learned_held_out"]:
        line += (
            f"; it learned from {about['learned_held_out']} of the videos that are held out here, so figures over them are "
            "too good"
        )
    return line
