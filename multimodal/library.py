"""The library: files registered as videos of the store, and the stored data of each video read back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

from multimodal.catalogue import Catalogue, State, Video
from multimodal.disk import FileState
from multimodal.progress import announce
from multimodal.segments import Segment, moments, silent_segments, spoken_segments
from multimodal.store import InputError, Store, file_digest, reading
from speech import caption_files, sentences, sidecars
from speech.sentences import Transcript

SUFFIXES = frozenset(
    """.mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .vob .ts .mts .m2ts .wmv .asf .flv .f4v .ogv .3gp .3g2 .mxf .dv
    .mp3 .m4a .m4b .mka .wav .w64 .flac .ogg .opus .aac .ac3 .aif .aiff .caf .amr .wma""".split()
)
"""Endings of video and sound files in a folder; a file that is named by itself is tried whatever its ending."""
TRANSCRIPTS = (*caption_files.SUFFIXES, ".json")

KIND_ENDS = "-"
"""Parts what is peculiar to a video from the recipe of its features."""
LARGEST_FILE = 256 << 30
"""Twelve hours at 50 Mbit a second."""
LEAST_SPARSE = 1 << 30
"""Above so many bytes a file of which less than half was ever written is refused before it is read."""
NANOSECONDS_OF_REST = 2_000_000_000
UNREAD = "unread:"
"""Begins the digest's place of what could not be read: its path follows."""
LEAST_TO_SPLIT = 10
LEAST_HELD_OUT = 2


@dataclasses.dataclass(frozen=True)
class VideoFiles:
    """The ``files`` to ingest, and the number of other files in the folders, by ending."""

    files: tuple[Path, ...]
    skipped: dict[str, int]


def find(paths: Sequence[Path], *, may_be_empty: bool = False) -> VideoFiles:
    """The video files of ``paths``: files as they are given, folders searched recursively, by ending.

    Raises :class:`InputError` where a path does not exist, a folder cannot be read, or no video was found, unless that
    ``may_be``.
    """
    if not paths:
        raise InputError("VIDEOS: none given; name video files or a folder of them")
    files: list[Path] = []
    skipped: dict[str, int] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the name")
        if not path.is_dir():
            files.append(path)
            continue
        for folder, folders, names in os.walk(path, onerror=_unreadable):
            folders.sort()
            stems = {Path(name).stem.lower() for name in names if Path(name).suffix.lower() in SUFFIXES}
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES:
                    files.append(Path(folder) / name)
                elif not _is_beside(name, stems):
                    ending = Path(name).suffix.lower() or "no ending"
                    skipped[ending] = skipped.get(ending, 0) + 1
    if not files and not may_be_empty:
        held = ", ".join(f"{n} {ending}" for ending, n in sorted(skipped.items())) or "no file"
        raise InputError(
            f"{', '.join(map(str, paths))}: no videos (found {held}); give a folder with files such as .mp4, .mkv, .mov, .webm"
        )
    return VideoFiles(tuple(files), skipped)


def _is_beside(name: str, stems: set[str]) -> bool:
    """Whether a file holds captions of a video of its folder: the video's reason says whether they were taken."""
    if Path(name).suffix.lower() not in (*caption_files.SUFFIXES, *sidecars.UNREADABLE):
        return False
    parts = name.lower().split(".")
    return any(".".join(parts[:n]) in stems for n in range(1, len(parts)))


def _unreadable(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: the folder cannot be read ({error.strerror}); give yourself the right to read it"
    ) from error


def label_of(file: Path) -> str:
    """The label of a file's video: the name without its ending, the tags of a transcript and a video's ending before it."""
    return _label_and_tag(file)[0]


def tags_of(file: Path) -> sidecars.Tags:
    """What the name of a transcript says of it, as in NAME.en.vtt or NAME.pt-BR.forced.srt."""
    return sidecars.tags_of(_label_and_tag(file)[1])


def _label_and_tag(file: Path) -> tuple[str, str]:
    label, tag = Path(file.name).stem, ""
    if file.suffix.lower() in TRANSCRIPTS:
        while (cut := label.rpartition("."))[0] and sidecars.tags_of(cut[2]) != sidecars.Tags():
            label, tag = cut[0], f"{cut[2]}.{tag}"
    before, _, last = label.rpartition(".")
    return (before if before and f".{last}".lower() in SUFFIXES else label), tag.rstrip(".")


def file_state(file: Path) -> FileState:
    """The state of a file that can be ingested. Raises OSError, and :class:`InputError` for what is no whole regular file."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError("the file cannot be read (it is no regular file)")
    if status.st_size > LARGEST_FILE:
        raise InputError(f"{status.st_size} bytes; a file has at most {LARGEST_FILE}; split it")
    held = status.st_blocks * 512
    if status.st_size > LEAST_SPARSE and held < status.st_size / 2:
        raise InputError(
            f"of its {status.st_size} bytes {held} are on the disk, the others were never written; fetch it again"
        )
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def unread(file: Path, state: State, why: str, size: int = 0) -> Video:
    """The row of a file whose content is not known, with the reason ``why``."""
    path, name = (os.fsencode(p).decode(errors="replace") for p in (file.absolute(), file.name))
    return Video(f"{UNREAD}{path}", name, path, size, state, f"{name}: {why}")


def still_written(file: Path, size: int) -> Video:
    """The row of a file that changes while it is looked at."""
    return unread(file, "waiting", "it is still being written; the next run tries again", size)


def register(
    catalogue: Catalogue,
    files: Sequence[Path],
    *,
    reread: bool = False,
    states: dict[str, FileState] | None = None,
    known: Mapping[str, Video] | None = None,
) -> tuple[list[Video], list[Video]]:
    """Records each file's content in the catalogue. Returns the videos, and those that cannot be read as refused, or as
    waiting where they changed meanwhile.

    Several names of one content are one video, which keeps its name as long as that is among them. A file is read once,
    however many links lead to it, and not again while its state is as it was, unless ``reread``. ``states`` gets the state
    in which each video's file was, by digest. ``known``: the videos of the catalogue by digest, where the caller has them.
    """
    digests = {} if reread else catalogue.digests()
    read_now: dict[FileState, str] = {}
    known = {video.video: video for video in catalogue.videos()} if known is None else known
    videos: dict[str, Video] = {}
    left: list[Video] = []
    for read, file in enumerate(files):
        path = str(file.absolute())
        try:
            if not _is_utf8(path):
                raise InputError("the path is not UTF-8; rename it")
            # Links to one file share its state, so its bytes are hashed once.
            state = file_state(file)
            digest = digests.get(state)
            if digest is None:
                announce("reading the files", f"{read} of {len(files)}")
                digest = file_digest(file)
                if file_state(file) != state:
                    left.append(still_written(file, state.bytes))
                    continue
                digests[state] = digest
                # What changed a moment ago may change again within one step of the file system's clock.
                # One of a time to come was not: its next change bears the time that it is then.
                if abs(time.time_ns() - state.changed) > NANOSECONDS_OF_REST:
                    read_now[state] = digest
        except (OSError, InputError) as error:
            reason = f"the file cannot be read ({error.strerror})" if isinstance(error, OSError) else error
            left.append(unread(file, "refused", str(reason)))
            continue
        before = known.get(digest)
        if digest not in videos or (before and path == before.path):
            if states is not None:
                states[digest] = state
            before = before or Video(digest, file.name, path, state.bytes)
            videos[digest] = dataclasses.replace(before, name=file.name, path=path, gone=None)
    catalogue.keep_digests(read_now)
    changed = [video for video in (*left, *videos.values()) if known.get(video.video) != video]
    catalogue.record([], changed)
    return list(videos.values()), left


def _is_utf8(path: str) -> bool:
    return os.fsencode(path).decode(errors="replace") == path


@dataclasses.dataclass(frozen=True)
class Material:
    """The stored data of a video: its transcript, and ``starts`` float64 [n] in seconds and ``tokens`` [n] of its clips."""

    video: Video
    transcript: Transcript
    starts: np.ndarray
    tokens: np.ndarray

    def spoken(self) -> list[Segment]:
        """The sentences to learn from and to be judged by: none where the speech was not understood."""
        if not self.transcript.is_understood:
            return []
        return spoken_segments(self.video.video, self.transcript, self.starts, self.tokens)

    def silent(self) -> list[Segment]:
        return silent_segments(self.video.video, self.starts, self.tokens)

    def moments(self) -> list[Segment]:
        return moments(self.video.video, self.transcript, self.starts, self.tokens)


def kind_of_features(features: str) -> str:
    """The recipe of features without what is peculiar to a video: those of one kind can be compared."""
    return features.partition(KIND_ENDS)[0]


def read_json(path: Path) -> dict:
    """The content of a stored JSON file. Raises :class:`~multimodal.store.DamagedFile`."""
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_transcript(store: Store, video: Video) -> Transcript:
    """The video's transcript, or an empty one where it has no sound."""
    if video.transcript is None:
        return Transcript(None, {"kind": "none"}, ())
    return stored_transcript(store.transcript(video.video, video.transcript))


def stored_transcript(path: Path) -> Transcript:
    """The transcript in a file of the store. Raises :class:`~multimodal.store.DamagedFile`."""
    with reading(path):
        return sentences.read_transcript(path)


def read_features(store: Store, video: Video) -> tuple[np.ndarray, np.ndarray]:
    """``values`` float16 [n, d] and ``starts`` float64 [n]; n is 0 where the video has no picture."""
    if video.features is None:
        return np.zeros((0, 1), np.float16), np.zeros(0)
    path = store.features(video.video, video.features)
    with reading(path), safe_open(path, "numpy") as file:
        return file.get_tensor("values"), file.get_tensor("starts")


def read_values(store: Store, video: Video) -> np.ndarray | None:
    """The features [clips, d] alone; ``None`` of a video without a picture or with imported tokens, which has none."""
    if not video.clips or read_imported_tokens(store, video) is not None:
        return None
    return read_features(store, video)[0]


def about_features(path: Path) -> dict[str, object]:
    """What made the features of a file, as far as it says: the ``name`` of the backbone with its ``weights`` and
    ``preprocessing``, or ``imported``, the kind of import; and their ``width``, 0 of tokens.

    Precision and reader are left out, which change nothing but the last digits.
    """
    with reading(path, summed=False), safe_open(path, "numpy") as file:
        made = json.loads((file.metadata() or {}).get("about", "{}")).get("recipe", {})
        width = file.get_slice("values").get_shape()[1] if "values" in file.keys() else 0  # noqa: SIM118
    return {name: made[name] for name in ("name", "weights", "preprocessing", "imported") if name in made} | {
        "width": width
    }


def same_features(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether what is known of both (:func:`about_features`) is the same."""
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def read_imported_tokens(store: Store, video: Video) -> tuple[np.ndarray, np.ndarray] | None:
    """``tokens`` int32 [n] and ``starts`` float64 [n] of a video with imported tokens; ``None`` for any other video."""
    if video.features is None:
        return None
    path = store.features(video.video, video.features)
    with reading(path, summed=False), safe_open(path, "numpy") as file:
        if "tokens" not in file.keys():  # noqa: SIM118 - it is no dict
            return None
    with reading(path), safe_open(path, "numpy") as file:
        return file.get_tensor("tokens"), file.get_tensor("starts")


def usable(catalogue: Catalogue) -> list[Video]:
    """The videos with words, clips or both."""
    return catalogue.videos(("done", "partial"))


def split(
    videos: Sequence[Video], held_out: float | frozenset[str], copies: Sequence[Sequence[Video]] = ()
) -> tuple[list[Video], list[Video]]:
    """The videos for training and those held out for evaluation. ``held_out`` is a share of the clips, or digests.

    ``copies``: groups of videos that show the same, which a share keeps on one side and counts as one.

    A share draws videos in an order that depends on their digests alone, until their clips reach it, and at least two
    videos. With fewer than ten videos that have clips nothing is held out.
    """
    if isinstance(held_out, float):
        held_out = _drawn_by_content([v for v in videos if v.clips], held_out, copies)
    return [v for v in videos if v.video not in held_out], [v for v in videos if v.video in held_out]


def _drawn_by_content(
    videos: Sequence[Video], share: float, copies: Sequence[Sequence[Video]]
) -> frozenset[str]:
    groups = {video.video: group for group in copies for video in group}
    if not share or len(videos) - sum(len(group) - 1 for group in copies) < LEAST_TO_SPLIT:
        return frozenset()
    wanted = share * sum(v.clips for v in videos)
    drawn: dict[str, Video] = {}
    clips = 0
    # Hashing the digest once more orders the videos independently of any order in which digests are listed.
    for video in sorted(videos, key=lambda v: hashlib.sha256(v.video.encode()).hexdigest()):
        if len(drawn) >= LEAST_HELD_OUT and clips >= wanted:
            break
        if video.video not in drawn:
            group = groups.get(video.video, [video])
            drawn |= {v.video: v for v in group}
            clips += sum(v.clips for v in group)
    return frozenset(drawn)


def read_material(store: Store, codebook: str, video: Video) -> Material:
    """The transcript and the visual tokens of a video that was encoded with ``codebook``."""
    transcript = read_transcript(store, video)
    if video.features is None or not video.clips:
        return Material(video, transcript, np.zeros(0), np.zeros(0, np.int64))
    # ParquetFile: read_table would import the whole of pyarrow.dataset, a tenth of what a question costs.
    path = store.tokens(codebook, video.video)
    with reading(path):
        table = pq.ParquetFile(path).read()
        return Material(video, transcript, table["start"].to_numpy(), table["token"].to_numpy())


def tokens_table(starts: np.ndarray, tokens: np.ndarray) -> pa.Table:
    """A row a clip: ``start`` float64 in seconds and ``token`` int32."""
    return pa.table({"start": pa.array(starts, pa.float64()), "token": pa.array(tokens, pa.int32())})
