"""The questions: parameters with their help texts, the answer, and its form for people, each written once.

The commands are made from :data:`QUESTIONS` here, the flows in :mod:`flows.answers`. Answers are imported when a question
is asked, as they bring torch.
"""

# Annotations are evaluated here, not kept as text: Prefect and cyclopts read them from the functions that are made of these.
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from flows import answer_pictures, formatting, progress
from flows.answer_pictures import Shown
from flows.formatting import Document
from flows.options import CHOICE
from flows.printing import JsonOption, print_json, put
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.answers.results import search_notes
from multimodal.inference.sampling import SamplingOptions
from multimodal.store import InputError

NOTHING_FOUND = 1
"""Exit status of a question that has no answer in the store."""


def split_names(_: Any, tokens: Sequence[Any]) -> list[str]:
    """The names of lists with commas, ``chop,pour``. Raises :class:`ValueError` where one is empty."""
    names: list[str] = []
    for text in (token.value for token in tokens if token.value):
        found = [name.strip() for name in text.split(",")]
        if not all(found):
            raise ValueError(f"{text!r} has an empty name; part names by one comma, as in chop,pour")
        names += found
    return names


Moment = Annotated[
    str,
    Parameter(
        help="A video of the store: its name, path or digest; with @S the moment at S seconds (or M:S)."
    ),
]
At = Annotated[float | None, Parameter(help="Second of the video that is meant; the same as VIDEO@S.")]
Names = Parameter(converter=split_names, n_tokens=1, negative=())
ByOption = Annotated[
    Literal["auto", "model", "plain"],
    Parameter(
        help="Who answers: the model, or plain words and counts; auto takes what is better on held-out videos."
    ),
    CHOICE,
]
Temperature = Annotated[
    float | None, Parameter(help="Of the draw: 0 takes the likeliest always; 1 where not given.")
]
TopP = Annotated[
    float | None, Parameter(help="Draw from the likeliest that make up this share; 0.9 where not given.")
]
Seed = Annotated[int | None, Parameter(help="The same seed draws the same; 0 where not given.")]
Examples = Annotated[
    list[str] | None,
    Names,
    Parameter(help="Moments to read before, with what is said there: a@12,b@3.5; for --system gpt."),
]
Device = Annotated[Literal["cpu", "cuda"], Parameter(help="Where the model runs."), CHOICE]


def _sampling(temperature: float | None, top_p: float | None, seed: int | None) -> SamplingOptions | None:
    """The options of a draw; ``None`` where none is given."""
    given = {"temperature": temperature, "top_p": top_p, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    return SamplingOptions(**given) if given else None


def search(
    text: Annotated[
        str | None, Parameter(help="What is said or shown in the moment that you look for.")
    ] = None,
    *,
    like: Annotated[
        str | None, Parameter(help="VIDEO@S in place of TEXT: moments that look like that one, never itself.")
    ] = None,
    texts: Annotated[
        bool,
        Parameter(help="With --like: the sentences of the store that fit what is seen there.", negative=()),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="Number of moments.")] = 5,
    device: Device = "cpu",
) -> Document:
    """The moments of all videos that fit a text or another moment, best first, and why each is there.

    "A phrase" in quotes must be said or be in the name of the video, -word must not. Exit status 1: nothing found.
    Before a model is trained, a text is looked up among the spoken words and the names alone.
    """
    from multimodal.answers import answer_json

    return answer_json.search(store, text, like=like, texts=texts, top=top, device=device)


def next_(
    video: Moment,
    *,
    at: At = None,
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="Number of visual tokens for each horizon.")] = 3,
    words: Annotated[
        bool, Parameter(help="Read the words spoken before the moment, too.", negative=())
    ] = False,
    rollout: Annotated[
        float | None, Parameter(help="Also draw one way in which this many seconds may go.")
    ] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    examples: Examples = None,
    by: ByOption = "auto",
    device: Device = "cpu",
) -> Document:
    """What comes next: the likeliest visual tokens 1.5, 3, 6 and 12 seconds ahead, named by the words that go with each."""
    if at is None and "@" not in video:
        raise InputError(f"VIDEO {video}: which second of it? write {video}@SECONDS or --at SECONDS")
    from multimodal.answers import answer_json

    sampling = _sampling(temperature, top_p, seed)
    return answer_json.forecast(
        store, video, at=at, top=top, words=words, rollout=rollout, by=by, device=device, sampling=sampling,
        examples=examples or [],
    )  # fmt: skip


def caption(
    video: Moment,
    *,
    at: At = None,
    template: Annotated[
        str | None,
        Parameter(help="A sentence with [MASK] where words are to be found, in place of the captioner."),
    ] = None,
    vtt: Annotated[Path | None, Parameter(help="Write the captions to this WebVTT file, too.")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    prompt: Annotated[
        str | None, Parameter(help="Words that each caption goes on from; for --system gpt.")
    ] = None,
    examples: Examples = None,
    by: ByOption = "auto",
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
) -> Document:
    """A caption for each moment of a video.

    By the captioner, a cloze template or a model that writes, from what is seen; where that is not better on held-out
    videos, by the words that are heard, or were heard where it looks most alike. A model that writes (--system gpt) takes the
    likeliest words, or with --temperature, --top-p or --seed draws them, reads the --examples before and goes on from a --prompt.
    """
    from multimodal.answers import answer_json

    sampling = _sampling(temperature, top_p, seed)
    return answer_json.caption(
        store, video, at=at, template=template, vtt=vtt, by=by, device=device, sampling=sampling,
        examples=examples or [], prompt=prompt,
    )  # fmt: skip


def classify(
    video: Moment,
    *,
    verbs: Annotated[list[str] | None, Names, Parameter(help="Verbs to choose from: chop,pour,stir")] = None,
    nouns: Annotated[
        list[str] | None, Names, Parameter(help="Nouns to choose from: carrot,egg,olive oil")
    ] = None,
    at: At = None,
    examples: Examples = None,
    by: ByOption = "auto",
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
) -> Document:
    """Which verbs and nouns of your own lists fit each moment, by the model or by what is said there and where it looks alike."""
    from multimodal.answers import answer_json

    return answer_json.classify(
        store, video, verbs=verbs or [], nouns=nouns or [], at=at, by=by, device=device,
        examples=examples or [],
    )  # fmt: skip


def chapters(
    video: Annotated[str, Parameter(help="A video of the store: its name, path or digest.")],
    *,
    to: Annotated[
        Literal["text", "vtt"], Parameter(help="As lines, or as WebVTT chapters for players."), CHOICE
    ] = "text",
    by: Annotated[
        Literal["auto", "model", "plain"],
        Parameter(help="Who cuts: the model, or counts of words and visual tokens (docs/chapters.md)."),
        CHOICE,
    ] = "auto",
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
) -> Document:
    """The chapters of a video: cut where what is said and seen changes, each titled by its most telling words."""
    from multimodal.answers import answer_json

    return answer_json.chapters(store, video, to=to, by=by, device=device)


def predict(
    video: Moment,
    *,
    head: Annotated[str, Parameter(help="Name of the head, made by `videobert finetune`.")],
    text: Annotated[
        str | None,
        Parameter(help="What may fit the moments, or the question; of heads of pairs and spans alone."),
    ] = None,
    at: At = None,
    to: Annotated[
        Literal["text", "vtt", "csv"], Parameter(help="As lines, as WebVTT, or as CSV."), CHOICE
    ] = "text",
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
) -> Document:
    """What a fine-tuned head says of a video: labels or scores of its moments, a timeline, or the seconds that answer a question."""
    from multimodal.answers import answer_json

    return answer_json.predict(store, video, head=head, text=text, at=at, to=to, device=device)


def imagine(
    text: Annotated[str, Parameter(help="What is to be seen.")],
    *,
    clips: Annotated[int, Parameter(help="Number of clips of 1.5 s.")] = 3,
    out: Annotated[Path | None, Parameter(help="Write the strip of pictures to this PNG file.")] = None,
    by: ByOption = "auto",
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
) -> Document:
    """Text to video: the visual tokens that fit a sentence, one after the other, with the real clips nearest to them."""
    from multimodal.answers import answer_json

    return answer_json.imagine(store, text, clips=clips, out=out, by=by, device=device)


def summarise(
    video: Annotated[str, Parameter(help="A video of the store: its name, path or digest.")],
    *,
    sentences: Annotated[int | None, Parameter(help="Sentences at most; 5 where not given.")] = None,
    by: ByOption = "auto",
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
) -> Document:
    """A video in one paragraph, each sentence with the times that it comes from.

    Written by a model with a decoder (--system bart or t5), else the captions that say most of the whole; where captions are not
    better on held-out videos, and in a store without a model, the sentences that were said that say most of the others.
    """
    from multimodal.answers import answer_json

    return answer_json.summarise(store, video, sentences=sentences, by=by, device=device)


@dataclasses.dataclass(frozen=True)
class Question:
    """``answer`` gives the JSON document; ``lines`` are the document for people; ``notes`` go to standard error.

    ``found``: whether the document answers the question; where it does not, the exit status is :data:`NOTHING_FOUND`.
    ``pictures``: what is shown beside the lines on Prefect's page.
    """

    answer: Callable[..., Document]
    lines: Callable[[Document], list[str]]
    pictures: Callable[[Document], list[Shown]]
    notes: Callable[[Document], list[str]] = lambda _: []
    found: Callable[[Document], bool] = lambda _: True

    @property
    def name(self) -> str:
        return self.answer.__name__.rstrip("_")


def moments(kind: str) -> Callable[[Document], list[Shown]]:
    """The pictures of the moments in the entry ``kind`` of a document."""
    return functools.partial(answer_pictures.of_moments, kind=kind)


QUESTIONS = (
    Question(search, formatting.search_lines, moments("hits"), search_notes, lambda document: bool(document["hits"])),
    Question(next_, formatting.next_lines, answer_pictures.of_forecast, formatting.quality_notes),
    Question(caption, formatting.caption_lines, moments("captions"), formatting.quality_notes),
    Question(classify, formatting.classify_lines, moments("moments"), formatting.quality_notes),
    Question(imagine, formatting.imagine_lines, answer_pictures.of_imagined, formatting.quality_notes),
    Question(chapters, formatting.chapters_lines, moments("chapters")),
    Question(summarise, formatting.summary_lines, moments("sentences"), formatting.quality_notes),
    Question(
        predict, formatting.predict_lines, moments("moments"), formatting.predict_notes, lambda d: bool(d["moments"])
    ),
)  # fmt: skip


def command(question: Question) -> Callable[..., int]:
    """The question as a command: its parameters and ``--json``; prints the answer and returns the exit status."""
    answer = question.answer

    @functools.wraps(answer)
    def ask(*arguments: Any, json_: bool = False, **options: Any) -> int:
        with progress.waiting("loading PyTorch and the model", lines=False):
            document = answer(*arguments, **options)
        if json_:
            print_json(document)
        else:
            for note in question.notes(document):
                put(note, sys.stderr)
            for line in question.lines(document):
                put(line)
        return 0 if question.found(document) else NOTHING_FOUND

    signature = inspect.signature(answer)
    as_json = inspect.Parameter("json_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)
    ask.__signature__ = signature.replace(parameters=[*signature.parameters.values(), as_json])
    ask.__annotations__ = answer.__annotations__ | {"json_": JsonOption, "return": int}
    return ask
