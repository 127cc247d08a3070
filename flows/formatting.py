"""Formatting of answers and videos for people: the lines that a command prints and that a flow run's artifact shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multimodal.answers.results import clock, evidence
from multimodal.answers.scripts import isolated

Document = dict[str, Any]


def search_lines(document: Document) -> list[str]:
    return [
        f"{n}. {isolated(hit['name'])} {clock(hit['start'])}–{clock(hit['end'])}  {evidence(hit)}  {isolated(hit['text']) or '(nobody speaks)'}"
        for n, hit in enumerate(document["hits"], 1)
    ]


def quality_notes(document: Document) -> list[str]:
    """The line that says what not to trust; none where the model is better than a plain answer."""
    return document["quality"]["notes"]


def caption_lines(document: Document) -> list[str]:
    found = [f"{clock(c['start'])}–{clock(c['end'])}  {_caption(document, c)}" for c in document["captions"]]
    if "vtt" in document:
        found.append(f"WebVTT: {document['vtt']}")
    return found


def _route(document: Document, caption: Document) -> str:
    """The route of a caption; its score only where held-out figures are above chance: else it would look like confidence."""
    route = caption["route"].replace("nearest_neighbour", "as in")
    if source := caption["source"]:
        return f"{route} {source['name']} {clock(source['start'])}"
    if caption["score"] is None or not document["quality"]["above_chance"]:
        return route
    return f"{route} {caption['score']:.2f}"


def _caption(document: Document, caption: Document) -> str:
    if not caption["text"]:
        return "nothing: nobody speaks here, and no learned moment with words looks like it"
    return f"{_route(document, caption)}  {isolated(caption['text'])}"


def next_lines(document: Document) -> list[str]:
    forecast = [
        (horizon["seconds"], token) for horizon in document["horizons"] for token in horizon["tokens"]
    ]
    sure = document["quality"]["above_chance"]
    found = [f"+{seconds:4.1f} s  {_token(token, sure)}" for seconds, token in forecast]
    shown = [token for _, token in forecast]
    if "rollout" in document:
        drawn = document["rollout"]
        found.append(
            f"One way it may go (temperature {drawn['temperature']:g}, nucleus {drawn['top_p']:g}, seed {drawn['seed']}):"
        )
        found += [f"  +{clip['seconds']:4.1f} s  {_token(clip, sure)}" for clip in drawn["clips"]]
        shown += drawn["clips"]
    return found + _pictures(shown)


def classify_lines(document: Document) -> list[str]:
    found = []
    for moment in document["moments"]:
        found.append(f"{clock(moment['start'])}–{clock(moment['end'])}")
        for kind in ("verbs", "nouns"):
            if moment[kind]:
                found.append(f"  {kind}: {_names(moment[kind], document['quality'])}")
    return found


def _names(names: list[Document], quality: Document) -> str:
    if quality["method"] == "plain":
        counted = [n for n in names[:3] if n["heard"] or n["said"]]
        if not counted:
            return f"none of these ({_counted(names[0])})"
        return ", ".join(f"{n['name']} ({_counted(n)})" for n in counted)
    sure = quality["above_chance"]
    best = ", ".join(f"{n['name']} {n['probability']:.2f}" if sure else n["name"] for n in names[:3])
    if names[0]["aligned"] is None:
        return best
    by_head = max(names, key=lambda n: n["aligned"])
    return f"{best}  (alignment: {by_head['name']}{' {:.2f}'.format(by_head['aligned']) if sure else ''})"


def _counted(name: Document) -> str:
    """The evidence for a name by counts."""
    if name["heard"]:
        return "said here"
    return (
        f"said in {name['said']} of {name['seen']} that look alike" if name["seen"] else "nothing looks alike"
    )


def chapters_lines(document: Document) -> list[str]:
    """A line for each chapter, or the lines of a WebVTT file."""
    if document["to"] == "vtt":
        from multimodal.answers.chapters import Chapter, webvtt

        return webvtt([Chapter(**chapter) for chapter in document["chapters"]]).removesuffix("\n").split("\n")
    return [
        f"{clock(c['start'])}–{clock(c['end'])}  {isolated(c['title'])}" for c in document["chapters"]
    ] or ["nothing: nobody speaks, and nothing is seen"]


def predict_lines(document: Document) -> list[str]:
    """A line for each moment, or the lines of a WebVTT or CSV file."""
    from multimodal.answers import predictions
    from multimodal.answers.results import PredictedMoment

    moments = [PredictedMoment(**m) for m in document["moments"]]
    if document["to"] != "text":
        write = predictions.webvtt if document["to"] == "vtt" else predictions.table
        return write(moments).removesuffix("\n").split("\n")
    return [
        f"{clock(m.start)}–{clock(m.end)}  {isolated(m.said)}"
        + ("" if m.probability is None else f"  {m.probability:.2f}")
        for m in moments
    ] or ["No answer in this video."]


def predict_notes(document: Document) -> list[str]:
    """How good the head is on held-out videos, where it was judged."""
    from multimodal.finetuning.table import in_a_line

    line = in_a_line(document["figures"])
    return [f"Head {document['head']}: {line}."] if line else []


def imagine_lines(document: Document) -> list[str]:
    found = []
    for n, clip in enumerate(document["clips"], 1):
        near = clip["nearest"]
        place = (
            f"{near['name'] or near['video'][:12]} {clock(near['start'])}" if near else "no clip of the store"
        )
        found.append(f"{n}. {_token(clip, document['quality']['above_chance'])}  {place}")
    if not found:
        found.append("Nothing: no learned sentence has a word of it.")
    if document["strip"]:
        return [*found, f"Strip: {document['strip']}"]
    return found + _pictures(document["clips"])


def summary_lines(document: Document) -> list[str]:
    """The paragraph, and beneath it where each of its sentences comes from."""
    times = [f"{clock(s['start'])}–{clock(s['end'])}  {isolated(s['text'])}" for s in document["sentences"]]
    return [isolated(document["text"]), "", *times] if times else ["Nothing: there is nothing to say of it."]


def _token(token: Document, sure: bool) -> str:
    """A token for people: its number, its probability where it is one to rely on, and the words that name it."""
    probability = f"{token['probability']:6.1%}  " if sure and token["probability"] is not None else ""
    return f"{token['token']}  {probability}{token['name'] or ''}".rstrip()


def _pictures(tokens: list[Document]) -> list[str]:
    """The folder that holds the tokens' pictures, each under its token's number; --json gives each path."""
    folders = {str(Path(token["picture"]).parent) for token in tokens if token["picture"]}
    return [f"Pictures: {folder}" for folder in sorted(folders)]
