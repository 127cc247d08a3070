"""What the child of the hostile tests does with each file: all that an ingestion reads of a video, at a small size."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from speech import audio, embedded_captions
from speech.errors import SpeechError
from vision.errors import MediaError
from vision.media import probe
from vision.readers import read_clips


def look_at_each(files: Sequence[Path]) -> Iterator[str]:
    """An answer a file: what was read, or the reason why nothing was."""
    for file in files:
        yield _look_at(file)


def _look_at(file: Path) -> str:
    try:
        media = probe(file)
    except MediaError as error:
        return f"refused: {error}"
    said = []
    for sound in media.sounds[:1]:
        try:
            said.append(
                f"{sum(p.seconds for p in audio.pieces(file, stream=sound.index, clock=media.clock)):.1f} s"
            )
        except SpeechError as error:
            said.append(str(error))
    for stream in media.captions:
        try:
            said.append(f"{len(list(embedded_captions.read_stream(file, stream.index, media.clock)))} cues")
        except SpeechError as error:
            said.append(str(error))
    if media.video is not None:
        try:
            said.append(f"{len(list(read_clips(media, side=32)))} clips")
        except MediaError as error:
            said.append(str(error))
    return "; ".join(said)
