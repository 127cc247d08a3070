"""A transcript as a file: WebVTT, SRT, plain text, TSV and JSON, in the forms of openai-whisper's writers (`whisper.utils`)."""

from __future__ import annotations

import json
from typing import Literal, get_args

from speech.cues import cues_of, write_srt, write_webvtt
from speech.sentences import Sentence, Transcript, Word, text_of, with_spaces

Format = Literal["vtt", "srt", "txt", "json", "tsv"]
FORMATS: tuple[Format, ...] = get_args(Format)


def write(transcript: Transcript, form: Format) -> str:
    """The transcript in one of FORMATS, a cue, line or segment for each sentence; seconds are those of the container.

    ``tsv``: a heading, then start and end in whole milliseconds and the text. ``json``: `text`, `language` and `segments`,
    each with its `words`, which join to its text; a word has a probability where one is known. Caption files hold no time
    before 0 and no cue that lasts no time; WebVTT escapes what would be markup.
    """
    sentences = transcript.sentences
    if form == "json":
        return json.dumps(_document(transcript), ensure_ascii=False) + "\n"
    if form == "txt":
        return "".join(f"{_line(s)}\n" for s in sentences)
    if form == "tsv":
        rows = (f"{round(1000 * s.start)}\t{round(1000 * s.end)}\t{_line(s)}\n" for s in sentences)
        return "start\tend\ttext\n" + "".join(rows)
    cues = cues_of((s.start, s.end, s.text) for s in sentences)
    return write_webvtt(cues) if form == "vtt" else write_srt(cues)


def _line(sentence: Sentence) -> str:
    return " ".join(sentence.text.split())


def _document(transcript: Transcript) -> dict:
    whole = text_of([Word(s.start, s.end, s.text) for s in transcript.sentences])
    segments = [
        {"id": n, "start": s.start, "end": s.end, "text": s.text, "words": _words(s)}
        for n, s in enumerate(transcript.sentences)
    ]
    return {"text": whole, "language": transcript.language, "segments": segments}


def _words(sentence: Sentence) -> list[dict]:
    return [
        {"word": text, "start": word.start, "end": word.end}
        | ({} if word.probability is None else {"probability": word.probability})
        for word, text in zip(sentence.words, with_spaces(sentence.words), strict=True)
    ]
