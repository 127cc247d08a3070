"""A corpus of features and captions made elsewhere: what a run of all stages needs, without a video to decode."""

from pathlib import Path

import numpy as np

VERBS, NOUNS = "peel chop wash pour".split(), "carrot onion egg".split()
WIDTH, CLIP, CLIPS_A_STEP = 16, 1.5, 4


def write_corpus(folder: Path, videos: int = 12, clips: int = 16, clear: bool = False) -> Path:
    """A .npy a video, and one table of captions that name what is shown; ``clear``: without noise, all rows of a step alike."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    verbs, nouns = (draw.normal(size=(len(names), WIDTH)) for names in (VERBS, NOUNS))
    lines = ["video,start,end,text"]
    for n in range(videos):
        verb, noun = (draw.integers(len(names), size=-(-clips // CLIPS_A_STEP)) for names in (VERBS, NOUNS))
        shown = np.repeat(verbs[verb] + nouns[noun], CLIPS_A_STEP, 0)[:clips]
        noise = 0 if clear else 0.3 * draw.normal(size=shown.shape)
        np.save(folder / f"video{n:05}.npy", (shown + noise).astype(np.float32))
        for step, (v, o) in enumerate(zip(verb, noun, strict=True)):
            start = step * CLIPS_A_STEP * CLIP
            end = min(start + CLIPS_A_STEP * CLIP, clips * CLIP)
            lines.append(f"video{n:05},{start},{end},Now we {VERBS[v]} the {NOUNS[o]} in number {step}.")
    (folder / "captions.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def write_bert(folder: Path, **more: int) -> Path:
    """A BERT of random weights that a process trains in seconds; its word pieces are the captions' words. ``more``: of its shape."""
    from multimodal.joint.model import JointBert
    from multimodal.joint.options import ModelOptions
    from multimodal.vocabulary import SPECIALS

    words = [*SPECIALS, *VERBS, *NOUNS, *"now let me show you how to we the in number . 0 1 2 3".split()]
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    } | more
    folder.mkdir(parents=True)
    model = JointBert(ModelOptions(vocab_size=len(words), **shape)).init_weights(0)
    model.save(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return folder
