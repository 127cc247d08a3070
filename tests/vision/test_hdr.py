"""HDR pictures look as the SDR ones of the same scene."""

import av
import numpy as np
import pytest

from vision import hdr
from vision.media import probe
from vision.readers import frame_at, read_clips

SAME = 4.0
"""Grey levels on average. Another scene differs by tens."""


def code_of(linear: np.ndarray, transfer: str) -> np.ndarray:
    """Light relative to reference white as PQ or HLG codes it; ITU-R BT.2100, table 4 and 5, the other way round."""
    light = linear * hdr.REFERENCE_WHITE
    if transfer == "PQ":
        power = (light / 10_000) ** hdr._M1
        return ((hdr._C1 + hdr._C2 * power) / (1 + hdr._C3 * power)) ** hdr._M2
    # A grey has the luminance of each of its colours, so the system's gamma is undone for each by itself.
    scene = (light / hdr.HLG_PEAK) ** (1 / hdr.HLG_GAMMA)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), hdr._A * np.log(np.maximum(12 * scene - hdr._B, 1e-9)) + hdr._C
    )


def write(path, codes: np.ndarray, transfer: int, codec: str = "libx265"):
    """Two seconds of a grey picture [H, W] of codes from 0 to 1, in 10 bits of BT.2020."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = codes.shape
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = (
            transfer,
            9,
            9,
            1,
        )
        luma = np.rint(64 + 876 * codes).astype(np.uint16)
        chroma = np.full((codes.shape[0] // 2, codes.shape[1] // 2), 512, np.uint16)
        planes = np.concatenate([luma.ravel(), chroma.ravel(), chroma.ravel()]).reshape(-1, codes.shape[1])
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p10le")
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, 9, 9, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("transfer", "white"), [("PQ", 0.58), ("HLG", 0.75)])
def test_reference_white_is_where_the_standard_puts_it(transfer, white):
    """ITU-R BT.2408, table 1: 203 cd/m2 at 58 % of PQ and 75 % of HLG."""
    light = hdr._luminance(np.full((1, 1, 3), white, np.float32), transfer)
    assert light == pytest.approx(hdr.REFERENCE_WHITE, rel=0.02)


@pytest.mark.parametrize(("number", "transfer"), hdr.TRANSFERS.items())
@pytest.mark.parametrize(("codec", "ending"), [("libx265", "mp4"), ("libx264", "mkv"), ("libsvtav1", "mp4")])
def test_a_grey_is_the_same_grey(tmp_path, number, transfer, codec, ending):
    grey = np.tile(np.linspace(20, 200, 256), (256, 1))
    path = write(tmp_path / f"a.{ending}", code_of((grey / 255) ** hdr.SDR_GAMMA, transfer), number, codec)
    media = probe(path)
    assert media.video.hdr == transfer and transfer in media.notes[0]
    (clip, *_) = read_clips(media)
    assert np.abs(clip.frames[0].mean(-1) - grey[16:-16, 16:-16].mean(0)).mean() < SAME
    assert np.abs(frame_at(media, 0.5, short_side=256).mean(-1) - grey).mean() < SAME


def test_highlights_keep_their_order(tmp_path):
    codes = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None].repeat(3, -1)
    for transfer in hdr.TRANSFERS.values():
        shown = hdr.to_sdr(codes, transfer)[0, :, 0].astype(int)
        assert (np.diff(shown) >= 0).all() and shown[0] == 0 and 230 < shown[-1] <= 255


def test_a_real_clip_in_hdr_looks_as_in_sdr(cases):
    sdr, pq = ([clip.frames for clip in read_clips(cases / name)] for name in ("sdr.mp4", "hdr_pq.mp4"))
    differences = [np.abs(a.astype(float) - b).mean() for a, b in zip(sdr, pq, strict=True)]
    assert max(differences) < SAME
    others = [np.abs(a.astype(float) - b).mean() for a, b in zip(sdr, pq[1:], strict=False)]
    assert min(others) > 2 * max(differences)
