"""A store of the sample videos within seconds: their true sentences, features that tell their steps apart, a small model of
random weights, its index and its caches; and beside them a hostile one, one that no browser plays, and a refused one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import safetensors.numpy
import tiny_store

from multimodal.answers.cache import update_cache
from multimodal.answers.counts import update_counts
from multimodal.answers.index import index
from multimodal.answers.token_names import update_token_names
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import load_trained
from multimodal.library import usable
from multimodal.store import Store, file_digest
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook, train_and_held_out
from multimodal.vocabulary import SPECIALS, Vocabulary
from vision.clips import CLIP_SECONDS

SAMPLES = Path(__file__).parents[2] / "samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text())
HOSTILE = "<img src=x onerror=alert(1)>'\"&.mp4"
MARKUP = '<script>alert(2)</script> onion "quoted" & </textarea>'
WORDS = "now let me show you how to the and it . ' , a b so we here is this in of just like".split()
WORDS += [*TRUTH["actions"], *TRUTH["things"]]


def add(
    store: Store,
    catalogue: Catalogue,
    file: Path,
    sentences: list[tuple[float, float, str]],
    kinds: np.ndarray,
    **more,
) -> Video:
    """A video as ingest leaves it: ``kinds`` [n] is what each clip of 1.5 s shows."""
    digest, starts = file_digest(file), np.arange(len(kinds)) * CLIP_SECONDS
    store.features(digest, "f").parent.mkdir(exist_ok=True)
    store.transcript(digest, "t").parent.mkdir(exist_ok=True)
    if len(kinds):
        values = np.eye(40)[kinds] + np.random.default_rng(len(kinds)).normal(0, 0.02, (len(kinds), 40))
        blob = safetensors.numpy.save({"values": values.astype(np.float16), "starts": starts})
        store.features(digest, "f").write_bytes(blob)
    if sentences:
        rows = [
            {"start": start, "end": end, "text": text,
             "words": [{"start": start, "end": end, "text": text, "probability": 0.9}]}
            for start, end, text in sentences
        ]  # fmt: skip
        store.transcript(digest, "t").write_text(
            json.dumps({"language": "en", "source": {"kind": "test"}, "sentences": rows})
        )
    fields = {"name": file.name, "state": "done", "reason": "", "seconds": CLIP_SECONDS * len(kinds)} | more
    video = Video(
        digest, path=str(file), bytes=file.stat().st_size, clips=len(kinds), sentences=len(sentences),
        transcript="t" if sentences else None, features="f" if len(kinds) else None, **fields,
    )  # fmt: skip
    catalogue.put(video)
    return video


def kitchen(store: Store, catalogue: Catalogue, file: Path) -> Video:
    """A sample video with its true sentences."""
    about = next(v for v in TRUTH["videos"] if file.name.endswith(v["file"]))
    kinds = np.zeros(int(about["seconds"] / CLIP_SECONDS), int)
    for step in about["steps"]:
        kind = TRUTH["actions"].index(step["action"]) * 6 + TRUTH["things"].index(step["thing"])
        kinds[int(step["start"] / CLIP_SECONDS) : int(np.ceil(step["end"] / CLIP_SECONDS))] = kind
    said = [(s["spoken_start"], s["spoken_end"], s["sentence"]) for s in about["steps"]]
    return add(store, catalogue, file, said, kinds, seconds=about["seconds"])


def in_mpeg4(source: Path, target: Path) -> Path:
    """The first frames of a video as MPEG-4 part 2 in Matroska, which browsers do not play."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for frame in read.decode(video=0):
            if frame.time > 6:
                break
            small = av.VideoFrame.from_ndarray(frame.reformat(160, 120, "rgb24").to_ndarray(), "rgb24")
            written.mux(stream.encode(small))
        written.mux(stream.encode())
    return target


def finish(store: Store, catalogue: Catalogue) -> None:
    """Codebook, tokens, model, index and caches, as a run leaves them."""
    quiet: Callable[..., None] = lambda *_: None  # noqa: E731
    videos = usable(catalogue)
    codebook = fit_codebook(store, videos, [], TokenOptions(k=6, depth=2), quiet)
    encode_videos(store, codebook, videos, quiet)
    tiny_store.add_model(store, catalogue, Vocabulary((*SPECIALS, *WORDS), 36), codebook)
    catalogue.set_current("codebook", codebook)
    trained = load_trained(store, "m", codebook, "cpu")
    index(store, trained, videos, quiet)
    update_cache(store, trained, videos, quiet)
    train, _ = train_and_held_out(store, videos, codebook)
    update_token_names(store, trained, train)
    update_counts(store, trained, train)


def make(root: Path, count: int = 3) -> Store:
    """The store in ``root/store``; its video files lie in ``root/videos``, one of them in a folder of its own."""
    folder = root / "videos"
    (folder / "more").mkdir(parents=True)
    store = Store(root / "store")
    with Catalogue(store.catalogue) as catalogue:
        for number in range(count):
            name = f"kitchen-{number:03}.mp4"
            place = folder / "more" if number == count - 1 else folder
            kitchen(store, catalogue, Path(shutil.copyfile(SAMPLES / name, place / name)))
        painted = tiny_store.paint(folder / HOSTILE, [0, 1, 2, 3])
        add(
            store,
            catalogue,
            painted,
            [(0.0, 2.5, MARKUP), (3.0, 5.5, "=HYPERLINK(1) --> onion")],
            np.array([36, 37, 36, 37]),
        )
        old = in_mpeg4(SAMPLES / "kitchen-007.mp4", folder / "old film.mkv")
        add(store, catalogue, old, [(0.0, 3.0, "An old film of a tomato.")], np.array([38, 38, 39, 39]))
        bad = folder / "broken.mp4"
        bad.write_bytes(b"no video")
        add(
            store,
            catalogue,
            bad,
            [],
            np.zeros(0, int),
            state="refused",
            reason=f"{bad}: no container that is known",
        )
        finish(store, catalogue)
    return store
