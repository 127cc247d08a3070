"""A store made of real parts within a second: painted videos, a fitted codebook, a model of random weights, its index."""

import json
from pathlib import Path

import av
import numpy as np
import safetensors.numpy

from multimodal.answers.index import index
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import load_trained
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import usable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import Store, file_digest, write_artefact
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook
from multimodal.training import checkpoints
from multimodal.training.checkpoints import Progress
from multimodal.vocabulary import SPECIALS, Vocabulary
from vision.clips import CLIP_SECONDS

COLOURS = [(200, 30, 30), (30, 160, 40), (40, 60, 210), (210, 190, 40)]
WORDS = "now let me show you how to peel chop wash the onion carrot egg and stir it . ' , a b so".split()


def paint(path: Path, clips: list[int]) -> Path:
    """A video at 10 fps that shows one of the colours during each clip."""
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", 10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for clip in clips:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), COLOURS[clip], np.uint8), "rgb24")
            for _ in range(15):
                frame.pts = None
                file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def add(store: Store, catalogue: Catalogue, file: Path, clips: list[int], said: list[str], **more) -> Video:
    """A video as ingest leaves it: features near its colours' corners, a sentence every two clips."""
    digest, seconds = file_digest(file), CLIP_SECONDS * max(len(clips), 2 * len(said))
    starts = np.arange(len(clips)) * CLIP_SECONDS
    if clips:
        noise = np.random.default_rng(len(clips)).normal(0, 0.05, (len(clips), 16))
        values = (np.eye(16)[clips] + noise).astype(np.float16)
        write_artefact(
            store.features(digest, "f"), safetensors.numpy.save({"values": values, "starts": starts})
        )
    sentences = [
        {"start": 3.0 * i, "end": 3.0 * i + 2.5, "text": text,
         "words": [{"start": 3.0 * i, "end": 3.0 * i + 2.5, "text": text, "probability": 0.9}]}
        for i, text in enumerate(said)
    ]  # fmt: skip
    if said:
        transcript = {"language": "en", "source": {"kind": "test"}, "sentences": sentences}
        write_artefact(store.transcript(digest, "t"), json.dumps(transcript).encode())
    made = {"name": file.name, "state": "done", "reason": ""} | more
    video = Video(
        digest, path=str(file), bytes=file.stat().st_size, seconds=seconds, clips=len(clips),
        sentences=len(said), transcript="t" if said else None, features="f" if clips else None, **made,
    )  # fmt: skip
    catalogue.put(video)
    return video


def add_model(store: Store, catalogue: Catalogue, vocabulary: Vocabulary, codebook: str) -> None:
    """The model `m` of random weights and of this codebook, in use, with a record of its 40 steps."""
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = JointBert(ModelOptions(vocab_size=vocabulary.size, **shape)).init_weights(0)
    objective = PretrainingObjective(model, vocabulary)
    checkpoints.save(store.model("m"), objective, objective.state_dict(), {}, Progress(40, 40, 2, 0), {})
    with (store.model("m") / "metrics.jsonl").open("w") as log:
        for step in range(1, 41):
            line = {"step": step, "learning_rate": 1e-4, "loss": 9 - step / 8, "text": 4 - step / 20}
            log.write(json.dumps(line | ({"held_out": {"text": 4.5}} if step % 10 == 0 else {})) + "\n")
    catalogue.set_current("model", "m")
    catalogue.set_current("model_codebook", codebook)


def finish(store: Store, catalogue: Catalogue, held_out: list[Video]) -> None:
    """Codebook, tokens, a model of random weights with a record of its steps, and the index."""
    videos = usable(catalogue)
    learned = [v for v in videos if v not in held_out]
    codebook = fit_codebook(store, learned, held_out, TokenOptions(k=4, depth=1), lambda *_: None)
    encode_videos(store, codebook, videos, lambda *_: None)
    add_model(store, catalogue, Vocabulary((*SPECIALS, *WORDS), 4), codebook)
    with (store.model("m") / "metrics.jsonl").open("a") as log:
        log.write('{"step": 41, "lo')
    index(store, load_trained(store, "m", codebook, "cpu"), videos, lambda *_: None)


def three_videos(folder: Path) -> Store:
    """A store of two videos that were learned from and one held out, in all of which the same is said."""
    store, said = Store(folder / "store"), ["chop the carrot", "wash the egg"]
    with Catalogue(store.catalogue) as catalogue:
        for name, clips in (("a", [0, 1] * 3), ("b", [1, 2] * 3)):
            add(store, catalogue, paint(folder / f"{name}.mp4", clips), clips, said)
        kept = add(store, catalogue, paint(folder / "kept.mp4", [0, 2, 1, 3]), [0, 2, 1, 3], said)
        finish(store, catalogue, [kept])
    return store


def three_videos_to_train_on(folder: Path) -> Store:
    """The same, whose codebook a training takes."""
    store = three_videos(folder)
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("codebook", catalogue.current("model_codebook"))
    return store
