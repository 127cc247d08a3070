"""Owns how answers read: the lines that a command prints and that a flow run's artifact shows."""

from __future__ import annotations

from typing import Any

from flows.printing import clock, hit_lines

Document = dict[str, Any]


def search_lines(document: Document) -> list[str]:
    from multimodal.answers.search import Hit

    return hit_lines([Hit(**hit) for hit in document["hits"]])


def caption_lines(document: Document) -> list[str]:
    found = [
        f"{clock(c['start'])}–{clock(c['end'])}  {c['score']:.2f}  {c['text']}" for c in document["captions"]
    ]
    if "vtt" in document:
        found.append(f"WebVTT: {document['vtt']}")
    return found


def next_lines(document: Document) -> list[str]:
    found = [
        f"+{horizon['seconds']:4.1f} s  {_token_words(token)}"
        for horizon in document["horizons"]
        for token in horizon["tokens"]
    ]
    if "rollout" in document:
        drawn = document["rollout"]
        found.append(
            f"One way it may go (temperature {drawn['temperature']:g}, nucleus {drawn['top_p']:g}, seed {drawn['seed']}):"
        )
        found += [f"  +{clip['seconds']:4.1f} s  {_token_words(clip)}" for clip in drawn["clips"]]
    return found


def classify_lines(document: Document) -> list[str]:
    found = []
    for moment in document["moments"]:
        found.append(f"{clock(moment['start'])}–{clock(moment['end'])}")
        for kind in ("verbs", "nouns"):
            if moment[kind]:
                by_head = max(moment[kind], key=lambda n: n["aligned"])
                best = ", ".join(f"{n['name']} {n['probability']:.2f}" for n in moment[kind][:3])
                found.append(f"  {kind}: {best}  (alignment: {by_head['name']} {by_head['aligned']:.2f})")
    return found


def imagine_lines(document: Document) -> list[str]:
    found = []
    for n, clip in enumerate(document["clips"], 1):
        near = clip["nearest"]
        place = (
            f"{near['name'] or near['video'][:12]} {clock(near['start'])}" if near else "no clip of the store"
        )
        found.append(f"{n}. {_token_words(clip)}  {place}")
    if document["strip"]:
        found.append(f"Strip: {document['strip']}")
    return found


def _token_words(token: Document) -> str:
    return f"{token['token']}  {token['probability']:6.1%}  {token['picture'] or 'no picture'}"
