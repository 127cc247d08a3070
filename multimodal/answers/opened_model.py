"""What is opened of a store once: its catalogue, its model with the captioner, index, evaluation and counts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from multimodal.answers import session
from multimodal.answers.quality import Evaluation
from multimodal.catalogue import Catalogue, Video
from multimodal.library import usable
from multimodal.store import Store

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from multimodal.answers.counts import Counts
    from multimodal.answers.plain import NGrams, WordsAndTokens
    from multimodal.answers.search import Index
    from multimodal.captioning.trained import TrainedCaptioner
    from multimodal.inference.heads import Head
    from multimodal.inference.trained import Trained


class OpenedModel:
    """A store's catalogue and its model. Each part is opened when it is first needed, and kept."""

    def __init__(self, folder: Path, device: str = "cpu"):
        if device != "cpu":  # the check brings torch
            from multimodal.inference.device import check_device

            check_device(device)
        self.store, self.device = Store(folder, create=False), device
        self.catalogue = Catalogue(self.store.catalogue, read_only=True)

    @classmethod
    def of(cls, store: Store, catalogue: Catalogue, trained: Trained | None) -> Self:
        """A store whose catalogue and model are open already, ``None`` for no model; they are the caller's to close."""
        opened = cls.__new__(cls)
        opened.store, opened.catalogue = store, catalogue
        opened.device = "cpu" if trained is None else trained.model.device.type
        if trained is not None:
            opened.__dict__["trained"] = trained
        return opened

    def close(self) -> None:
        self.catalogue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def codebook(self) -> str | None:
        """The digest of the model's codebook; before there is a model, of the codebook in use."""
        return self.catalogue.current("model_codebook") or self.catalogue.current("codebook")

    @property
    def model(self) -> torch.nn.Module:
        """The joint model, in evaluation mode."""
        return self.trained.model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. A pair (words, visual tokens such as ``v00042 v00007``) becomes the model's own sequence."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.trained.folder / "tokenizer.json"))

    @cached_property
    def trained(self) -> Trained:
        """The model with its vocabulary, its checkpoint's folder and its codebook."""
        return session.open_trained(self.store, self.catalogue, self.device)

    @cached_property
    def indexed(self) -> list[Video]:
        """The usable videos that are in the model's index: a run may have ingested others since."""
        from multimodal.answers.index import indexed

        return indexed(self.store, self.trained, usable(self.catalogue))

    @cached_property
    def index(self) -> Index:
        """The moments of the videos that are in the model's index, opened for search."""
        from multimodal.answers.search import Index

        return Index.load(self.store, self.trained, self.indexed)

    @cached_property
    def lexical_index(self) -> Index:
        """The sentences of all usable videos, for search by words in a store without a model."""
        from multimodal.answers.search import without_model

        return without_model(self.store, usable(self.catalogue))

    @cached_property
    def captioner(self) -> TrainedCaptioner | None:
        """``None`` where the store has none."""
        return session.open_captioner(self.store, self.catalogue, self.trained)

    @cached_property
    def _heads(self) -> dict[str, Head]:
        return {}

    def head(self, name: str) -> Head:
        """The head of a fine-tuning task (`videobert finetune`) by its name."""
        from multimodal.inference.heads import load_head

        if name not in self._heads:
            self._heads[name] = load_head(self.store, self.trained, name)
        return self._heads[name]

    @cached_property
    def evaluation(self) -> Evaluation:
        """The stored evaluation of the model and the captioner: it decides which method answers."""
        return Evaluation.read(self.store, self.catalogue, self.trained)

    @cached_property
    def counts(self) -> Counts:
        """What is counted over the videos that the model learned from."""
        from multimodal.answers.counts import count_videos, read_counts

        stored = read_counts(self.store, self.trained)
        if stored is not None:
            return stored
        from multimodal.tokens import train_and_held_out

        train, _ = train_and_held_out(self.store, usable(self.catalogue), self.trained.codebook)
        return count_videos(self.store, self.trained, train)

    @cached_property
    def ngrams(self) -> NGrams:
        """Which visual tokens follow which."""
        from multimodal.answers.plain import NGrams

        return NGrams(self.counts, self.trained.vocabulary.visual)

    @cached_property
    def words_and_tokens(self) -> WordsAndTokens:
        """Which words are said while which visual tokens are shown."""
        from multimodal.answers.plain import WordsAndTokens

        return WordsAndTokens(self.counts, self.trained.vocabulary.visual)

    @cached_property
    def _token_names(self) -> dict[int, str]:
        from multimodal.answers.token_names import read_token_names

        return read_token_names(self.store, self.trained)
