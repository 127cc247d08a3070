"""A store opened for reading: the five questions, the tables of what it holds, the joint model and its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from multimodal.answers import session, stored_tables
from multimodal.answers.opened_model import OpenedModel
from multimodal.answers.quality import By, check_by
from multimodal.answers.results import (
    CaptionAnswer,
    ChaptersAnswer,
    ClassifiedMoment,
    ClassifyAnswer,
    ForecastAnswer,
    HorizonForecast,
    ImagineAnswer,
    ImaginedClip,
    NearestClip,
    PredictAnswer,
    Rollout,
    SampledClip,
    SearchAnswer,
    SummaryAnswer,
    TokenProbability,
)
from multimodal.catalogue import Video
from multimodal.library import Material, read_material, read_values, usable
from multimodal.store import InputError
from multimodal.vocabulary import TEMPLATE

if TYPE_CHECKING:
    from multimodal.answers.fusion import Hit
    from multimodal.answers.imagine import Imagined
    from multimodal.answers.search import Found, Index
    from multimodal.inference.left_to_right import Parts
    from multimodal.inference.sampling import SamplingOptions

# The parts of each answer are imported when it is asked for: a search by words alone needs neither torch nor a model.


def check_search(text: str | None, *, like: str | None, texts: bool, top: int) -> None:
    """Raises :class:`~multimodal.store.InputError` where the arguments of a search do not go together."""
    if (text is None) == (like is None):
        raise InputError(
            "search: give a TEXT, or --like VIDEO@S (with --texts: what fits its picture), one of them"
        )
    if texts and like is None:
        raise InputError("--texts: goes with --like VIDEO@S; without it give the TEXT alone")
    if top < 1:
        raise InputError(f"--top {top}: must be 1 or more")


class OpenedStore(OpenedModel):
    """A store opened for reading; no lock is taken, so a run may write to it meanwhile.

    The model, the index and the captioner are opened once, when they are first needed; after a run has made new ones, open
    the store anew. The tables are read at each call. There is nothing to close in a notebook: what is open goes with the
    object. A program may call :meth:`close`, or use the store in a ``with`` statement.

    ``video`` arguments take a file's name, its path, its digest (or the first 6 digits of it), and where a moment is meant
    ``VIDEO@SECONDS`` or ``VIDEO@MINUTES:SECONDS``. Every method raises :class:`~multimodal.store.InputError`, with one line
    that says what is wrong, for a video that is not in the store or cannot be used, and where the store has no model yet.
    """

    def __repr__(self) -> str:
        return f"OpenedStore({str(self.store.root)!r})"

    def _repr_html_(self) -> str:
        from multimodal.answers import display

        return display.store_html(self.store, self.catalogue, self.codebook)

    # the five questions

    def search(
        self, text: str | None = None, *, like: str | None = None, texts: bool = False, top: int = 5
    ) -> SearchAnswer:
        """The ``top`` moments that ``text`` calls for, or nearest to the moment ``like`` (VIDEO@S), best first.

        ``texts``, with ``like``: the sentences of the store that fit the picture there. A store without a model is searched
        by words alone.
        """
        check_search(text, like=like, texts=texts, top=top)
        moment = session.resolve(self.catalogue, like) if like is not None else None
        if moment is None:
            return self._search_text(text or "", top)
        if moment.at is None:
            raise InputError(f"--like {like}: names no second; write VIDEO@SECONDS, as in {like}@62.5")
        hits = (self.index.texts if texts else self.index.like)(moment.video, moment.at, top)
        videos = self._videos_of(hits, moment.video.video)
        return SearchAnswer(None, "model", (), moment, tuple(hits), videos)

    def _search_text(self, text: str, top: int) -> SearchAnswer:
        (answer,) = self.search_texts([(text, top)])
        if isinstance(answer, InputError):
            raise answer
        return answer

    def search_texts(self, asked: Sequence[tuple[str, int]]) -> list[SearchAnswer | InputError]:
        """What :meth:`search` gives or raises for each text with its ``top``; the model reads all of them at once."""
        index = self.lexical_index if self.catalogue.current("model") is None else self.index
        found = index.find_many(asked)
        return [
            f if isinstance(f, InputError) else self._search_answer(index, text, f)
            for (text, _), f in zip(asked, found, strict=True)
        ]

    def _search_answer(self, index: Index, text: str, found: Found) -> SearchAnswer:
        lookup = found.lookup
        return SearchAnswer(
            text,
            "words" if index.trained is None else "model",
            tuple(index.unknown_words(lookup)),
            None,
            found.hits,
            self._videos_of(found.hits),
            lookup.query.ignored,
            tuple(lookup.corrected.items()),
            lookup.unsaid,
            lookup.suggestion,
            None if found.hits else lookup.why_nothing(index.trained is not None),
            len(usable(self.catalogue)) - len(self.indexed) if index.trained is not None else 0,
        )

    def _videos_of(self, hits: Sequence[Hit], *more: str) -> tuple[Video, ...]:
        digests = dict.fromkeys([*(h.video for h in hits), *more])
        return tuple(video for digest in digests if (video := self.catalogue.get(digest)) is not None)

    def caption(
        self,
        video: str,
        *,
        at: float | None = None,
        template: str | None = None,
        sampling: SamplingOptions | None = None,
        examples: Sequence[str] = (),
        prompt: str | None = None,
        by: By = "auto",
    ) -> CaptionAnswer:
        """Captions of a video, or of the moment that ``video`` or ``at`` (seconds) names.

        ``by``: ``model``, the captioner where the store has one, else a cloze template; ``plain``, the words heard in the
        moment, else those of the learned moment that looks most like it; ``auto``, what is better on held-out videos.
        ``template``, a sentence with ``[MASK]`` where a word is to be found, is filled by the model. ``sampling``: how one that
        reads left to right draws its words; the likeliest where it is not given. ``examples``: moments (VIDEO@S) whose picture
        and words it reads before; ``prompt``: words that it goes on from.
        """
        given = {
            "--template": template,
            "--temperature, --top-p and --seed": sampling,
            "--examples": examples or None,
            "--prompt": prompt,
        }
        by = check_by(by, given)
        moment = session.resolve(self.catalogue, video, at)
        from multimodal.answers import caption as captions

        material = self._material(moment.video)
        quality = self.evaluation.quality("caption", by)
        if quality.method == "plain":
            found = captions.plain_captions(
                self.store, self.catalogue, self.words_and_tokens, material, at=moment.at
            )
        elif quality.method == "captioner" and all(value is None for value in given.values()):
            found = captions.captioned(self.store, self.trained, self.captioner, material, at=moment.at)
        else:
            found = captions.caption(
                self.trained, material, at=moment.at, template=template or TEMPLATE, sampling=sampling,
                examples=self._examples(examples), begun=prompt,
            )  # fmt: skip
        return CaptionAnswer(moment.video, tuple(found), quality)

    def next(
        self,
        video: str,
        *,
        at: float | None = None,
        top: int = 3,
        words: bool = False,
        rollout: float | None = None,
        sampling: SamplingOptions | None = None,
        examples: Sequence[str] = (),
        by: By = "auto",
    ) -> ForecastAnswer:
        """The ``top`` likeliest visual tokens 1.5, 3, 6 and 12 s after a moment.

        ``by``: ``model``; ``plain``, transitions counted in the other videos and in this one so far; ``auto``, what is
        better on held-out videos. ``words``: the model reads the words spoken before the moment, too. ``rollout``: one
        sample of so many seconds is drawn too, by ``sampling`` (:class:`multimodal.inference.sampling.SamplingOptions`).
        ``examples``: moments (VIDEO@S) that a model that reads left to right reads before.
        """
        by = check_by(by, {"--words": words or None, "--examples": examples or None})
        if sampling is not None and rollout is None:
            raise InputError(
                "--temperature, --top-p and --seed: have no effect without --rollout SECONDS; add it"
            )
        if top < 1:
            raise InputError(f"--top {top}: at least 1 token for each horizon")
        moment = session.resolve(self.catalogue, video, at)
        if moment.at is None:
            raise InputError(f"VIDEO {video}: which second of it? write {video}@SECONDS or --at SECONDS")
        from multimodal.answers import forecast as forecasts

        material = self._material(moment.video)
        quality = self.evaluation.quality("next", by)
        read = {
            "words": words,
            "ngrams": self.ngrams if quality.method == "plain" else None,
            "examples": self._examples(examples),
        }
        horizons = tuple(
            HorizonForecast(h.seconds, tuple(self._token(*token) for token in h.tokens))
            for h in forecasts.forecast(self.trained, material, moment.at, top, **read)
        )
        drawn = None
        if rollout is not None:
            options = sampling or forecasts.SamplingOptions()
            sampled = forecasts.rollout(self.trained, material, moment.at, rollout, options, **read)
            clips = tuple(SampledClip(s.seconds, self._token(s.token, s.probability)) for s in sampled)
            drawn = Rollout(options, clips)
        heard = forecasts.words_before(material.transcript, moment.at) if words else None
        return ForecastAnswer(moment.video, moment.at, heard, horizons, drawn, quality)

    def classify(
        self,
        video: str,
        *,
        verbs: Sequence[str] = (),
        nouns: Sequence[str] = (),
        at: float | None = None,
        examples: Sequence[str] = (),
        by: By = "auto",
    ) -> ClassifyAnswer:
        """The ``verbs`` and ``nouns`` ranked for each moment of a video, or the one that ``video`` or ``at`` names.

        ``by``: ``model``; ``plain``, the words said in the moment, then those said in other videos while the same visual
        tokens are shown; ``auto``, what is better on held-out videos, and the model where nobody says any of the names.
        ``examples``: moments (VIDEO@S) that a model that reads left to right reads before.
        """
        by = check_by(by, {"--examples": examples or None})
        moment = session.resolve(self.catalogue, video, at)
        from multimodal.answers.caption import seen_moments
        from multimodal.answers.classify import classify_moments, count_moments

        shown = seen_moments(self._material(moment.video), moment.at)
        quality = self.evaluation.quality("classify", by)
        if quality.method == "plain":
            found = count_moments(self.words_and_tokens, shown, verbs, nouns)
            heard = any(n.heard for c in found for n in (*c.verbs, *c.nouns))
            if by == "auto" and not heard and not any(map(self.words_and_tokens.is_said, (*verbs, *nouns))):
                quality = self.evaluation.quality("classify", "model")
        if quality.method != "plain":
            found = classify_moments(
                self.trained, [m.tokens for m in shown], verbs, nouns, self._examples(examples)
            )
        moments = (ClassifiedMoment(m.start, m.end, names) for m, names in zip(shown, found, strict=True))
        return ClassifyAnswer(moment.video, tuple(moments), quality)

    def chapters(self, video: str, *, by: By = "auto") -> ChaptersAnswer:
        """The chapters of a video: cut where what is said and seen changes, each titled by its most telling words.

        ``by``: ``plain``, by words, visual tokens and features; ``model``, by its embeddings and, where it learned one, its pair
        task, too; ``auto``, the plain way, which needs no model (docs/chapters.md).
        """
        check_by(by)
        from multimodal.answers import chapters as found

        known = self.catalogue.find(video)
        session.check_usable(known)
        has_model = self.catalogue.current("model") is not None
        names = self._token_names if has_model else None
        trained = self.trained if by == "model" else None
        cut = found.of_video(
            self._read_material(known), known.seconds or 0.0, names,
            features=read_values(self.store, known), trained=trained,
        )  # fmt: skip
        return ChaptersAnswer(known, tuple(cut), "plain" if trained is None else "model")

    def imagine(self, text: str, *, clips: int | None = None, by: By = "auto") -> ImagineAnswer:
        """The visual tokens that ``text`` calls for, one after the other, with the stored clip nearest to each.

        ``clips``: how many clips of 1.5 s, where ``None`` 3. ``by``: ``model``; ``plain``, what is shown while its words
        are said; ``auto``, what is better on held-out videos, and the model where nobody says a word of it.
        """
        check_by(by)
        from multimodal.answers import imagine as images

        quality, count = self.evaluation.quality("imagine", by), images.CLIPS if clips is None else clips
        found: list[Imagined] = []
        if quality.method == "plain":
            found = images.count_clips(self.store, self.trained, self.words_and_tokens, text, count)
            if by == "auto" and not found:
                quality = self.evaluation.quality("imagine", "model")
        if quality.method != "plain":
            found = images.imagine(self.store, self.trained, text, count)
        return ImagineAnswer(
            text,
            tuple(ImaginedClip(self._token(c.token, c.probability), self._nearest(c)) for c in found),
            quality,
        )

    def summarise(self, video: str, *, sentences: int | None = None, by: By = "auto") -> SummaryAnswer:
        """One paragraph of a video, in ``sentences`` at most (``None``: 5), each with the times that it comes from.

        ``by``: ``model``, written by its decoder (systems `t5` and `bart`), else the most central captions of the captioner;
        ``plain``, the most central sentences that were said; ``auto``, the model where its captions are better on held-out
        videos, or where nobody speaks. A store without a model has the plain answer.
        """
        check_by(by)
        from multimodal.answers import summaries

        return summaries.summarise(self, video, sentences, by)

    def predict(
        self, video: str, *, head: str, text: str | None = None, at: float | None = None
    ) -> PredictAnswer:
        """What a head (`videobert finetune`) says of each moment of a video, or of the one that ``video`` or ``at`` names; of a
        timeline, its parts. ``text``: what a head of pairs is asked about (docs/finetuning.md)."""
        from multimodal.answers import predictions

        return predictions.predict(self, video, head, text, at)

    def _nearest(self, clip: Imagined) -> NearestClip | None:
        known = self.catalogue.get(clip.video)
        name = known.name if known else None
        return NearestClip(clip.video, name, clip.start, clip.end) if clip.video else None

    def _token(self, token: int, probability: float | None) -> TokenProbability:
        from multimodal.tokens import picture_path

        picture = picture_path(self.store, self.trained.codebook, token)
        return TokenProbability(token, probability, self._token_names.get(token), picture)

    # the tables

    @property
    def videos(self) -> pa.Table:
        """A row for each video: ``video`` (digest), ``name``, ``path``, ``state`` (``done``, ``partial``, ``refused`` or
        ``new``), ``reason``, ``seconds`` (its length), and the numbers of its ``clips`` and ``sentences``.

        As every table here a :class:`pyarrow.Table`; its method ``to_pandas()`` makes a DataFrame where pandas is installed.
        """
        return stored_tables.videos_table(self.catalogue.videos())

    def transcript(self, video: str) -> pa.Table:
        """A row for each sentence: ``start`` and ``end`` in seconds, ``text``, and ``words``, each with ``start``, ``end``,
        ``text`` and ``probability`` (null where it is not known)."""
        return stored_tables.transcript_table(self.store, self._usable(video))

    def features(self, video: str) -> pa.Table:
        """A row for each clip: ``start`` and ``end`` in seconds and ``features``, the backbone's d numbers (float32)."""
        return stored_tables.features_table(self.store, self._usable(video))

    def tokens(self, video: str) -> pa.Table:
        """A row for each clip: ``start`` and ``end`` in seconds and ``token``, the visual token (leaf of the codebook)."""
        material = self._read_material(self._usable(video))
        return stored_tables.clip_tokens_table(material.starts, material.tokens)

    def segments(self) -> pa.Table:
        """A row for each segment of all usable videos: a sentence, or up to 16 clips in a row in which nobody speaks.

        ``video`` (digest), ``name``, ``start`` and ``end`` in seconds, ``text`` (empty where nobody speaks) and ``tokens``,
        the visual tokens of the clips that are shown in it.
        """
        named = ((v.name, s) for v in usable(self.catalogue) for s in self._read_material(v).moments())
        return stored_tables.segments_table(named)

    def _usable(self, label: str) -> Video:
        video = self.catalogue.find(label)
        session.check_usable(video)
        return video

    def _examples(self, labels: Sequence[str]) -> list[Parts]:
        """The words and visual tokens of moments that are named by VIDEO@S."""
        from multimodal.answers.caption import example_of

        found = []
        for label in labels:
            moment = session.resolve(self.catalogue, label)
            if moment.at is None:
                raise InputError(
                    f"--examples {label}: names no second; write VIDEO@SECONDS, as in {label}@62.5"
                )
            found.append(example_of(self.trained, self._material(moment.video), moment.at))
        return found

    def _material(self, video: Video) -> Material:
        return session.material_of(self.store, self.trained, video)

    def _read_material(self, video: Video) -> Material:
        """The material of a video under :attr:`codebook`, which needs no model."""
        codebook = self.codebook
        if video.clips and codebook is None:
            raise InputError(f"store {self.store.root}: has no codebook yet; run `videobert run VIDEOS`")
        session.check_encoded(self.store, codebook or "", video)
        return read_material(self.store, codebook or "", video)
