"""Ingestion of one video: the timeouts of its decoders, and the outcome where they run out."""

import dataclasses
from pathlib import Path

import av
import fragments
import numpy as np
import pytest
import safetensors.numpy
import torch

from multimodal.catalogue import Video
from multimodal.intake import ingest, model_cache
from multimodal.intake.ingest import BUDGET_PER_SECOND, MOST_RESULTS, decoding_limits
from multimodal.intake.ingest_options import IngestOptions
from multimodal.library import Material, kind_of_features, read_features, read_material, read_transcript
from multimodal.store import Store, canonical_json, file_digest, write_whole
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook
from speech import audio, vad
from speech.errors import SpeechModelError
from vision.clips import CLIP_SECONDS
from vision.media import MAX_SECONDS, Media, VideoStream

HOUR = 3600.0


def media(container: str, seconds: float) -> Media:
    stream = VideoStream(0, "mpeg4", 64, 48, 0, 1.0, 0.0, seconds, None, 25.0, "yuv420p")
    return Media(Path("v"), container, 0.0, seconds, stream, None)


def silent_video(folder: Path) -> Video:
    """A video without sound, as the catalogue knows it before it is ingested."""
    file = fragments.silent(folder / "v.mov")
    return Video(file_digest(file), file.name, str(file), file.stat().st_size)


def test_budget_grows_with_the_declared_length_and_ends():
    options = IngestOptions(seconds=100.0)
    short, long = (decoding_limits(options, media("mov,mp4", seconds)) for seconds in (0.1, HOUR))
    assert short.seconds == long.seconds == 100.0
    assert (short.total, long.total) == (100.0 + BUDGET_PER_SECOND * 0.1, 100.0 + BUDGET_PER_SECOND * HOUR)
    liar = decoding_limits(options, media("mov,mp4", 1e12))
    assert liar.total == 100.0 + BUDGET_PER_SECOND * MAX_SECONDS
    assert MOST_RESULTS * CLIP_SECONDS == MAX_SECONDS
    assert MOST_RESULTS * audio.PIECE_SECONDS > audio.LONGEST_AUDIO


def test_a_picture_that_is_decoded_whole_before_its_first_clip_may_take_its_length_to_that():
    limits = decoding_limits(IngestOptions(seconds=100.0), media("avi", HOUR))
    assert limits.seconds == 100.0 + HOUR < limits.total


@pytest.mark.parametrize("budget", [10.0, -1e4])
def test_a_decoder_without_time_left_is_named_and_tried_again(tmp_path, weights_or_skip, monkeypatch, budget):
    """The control: with a budget the same file gives features."""
    weights_or_skip("mobilenetv2-imagenet")
    monkeypatch.setattr(ingest, "BUDGET_PER_SECOND", budget)
    video = silent_video(tmp_path)
    outcome = ingest.ingest(
        Store(tmp_path / "store"), video, IngestOptions(backbone="mobilenetv2"), "cpu", threads=1
    )
    if budget > 0:
        assert (outcome.state, outcome.clips) == ("partial", 2) and outcome.recipe
    else:
        assert outcome.state == "refused" and "picture: " in outcome.reason
        assert outcome.recipe is None, "it is taken for up to date"


def test_a_backbone_that_gives_no_numbers_is_told(tmp_path, weights_or_skip):
    """The real network, with its last numbers spoilt as by a broken processor: nothing of it is stored."""
    weights_or_skip("mobilenetv2-imagenet")
    video, store = silent_video(tmp_path), Store(tmp_path / "store")
    model_cache.backbones_by_name.clear()
    spoilt = model_cache.backbone("mobilenetv2", "cpu")
    with torch.no_grad():
        next(spoilt.network.trunk.parameters()).fill_(float("nan"))
    try:
        outcome = ingest.ingest(store, video, IngestOptions(backbone="mobilenetv2"), "cpu", threads=1)
    finally:
        model_cache.backbones_by_name.clear()
    assert outcome.state == "refused" and outcome.features is None
    assert "clip at 0 s" in outcome.reason and "mobilenetv2" in outcome.reason
    assert not list((store.root / "features").glob("*.safetensors"))


def test_where_vad_has_no_weights_no_video_is_blamed(tmp_path, weights_or_skip, monkeypatch):
    """What no video can do without ends the command; it is not one video's outcome."""
    for name in ("whisper-tiny.en", "mobilenetv2-imagenet"):
        weights_or_skip(name)
    monkeypatch.setattr(vad.importlib.util, "find_spec", lambda name: None)
    vad._network.cache_clear()
    file = Path(__file__).parents[1] / "samples/kitchen-000.mp4"
    video = Video(file_digest(file), file.name, str(file), file.stat().st_size)
    with pytest.raises(SpeechModelError, match="silero-vad"):
        ingest.ingest(
            Store(tmp_path / "store"), video, IngestOptions(backbone="mobilenetv2"), "cpu", threads=1
        )


@pytest.mark.long
@pytest.mark.parametrize("name", ["lang_de.mp4"])
def test_speech_that_the_model_does_not_know_is_told_and_not_learned_from(
    tmp_path, weights_or_skip, cases, name
):
    for weights in ("whisper-tiny.en", "mobilenetv2-imagenet"):
        weights_or_skip(weights)
    store = Store(tmp_path / "store")
    video = Video("d", name, str(cases / name), 1)
    outcome = ingest.ingest(store, video, IngestOptions(backbone="mobilenetv2"), "cpu")
    assert outcome.state == "partial" and "--whisper base" in outcome.reason and outcome.sentences
    transcript = read_transcript(store, dataclasses.replace(video, transcript=outcome.transcript))
    material = Material(video, transcript, np.zeros(1), np.zeros(1, np.int64))
    assert material.spoken() == [] and material.moments()


def test_a_store_of_before_gets_times_from_the_file_s_start(tmp_path, weights_or_skip):
    """A transport stream that begins at ten hours, beside an MP4: as the version before stored it, and after the next run."""
    weights_or_skip("mobilenetv2-imagenet")
    store, options = Store(tmp_path / "store"), IngestOptions(backbone="mobilenetv2")
    late = tmp_path / "late.ts"
    with av.open(str(fragments.silent(tmp_path / "v.mov"))) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                ticks = round(36_000 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                target.mux(packet)
    videos = [Video(file_digest(f), f.name, str(f), f.stat().st_size) for f in (late, tmp_path / "v.mov")]
    ingested = [ingest.ingest(store, v, options, "cpu", threads=1).applied_to(v) for v in videos]
    values, starts = read_features(store, ingested[0])
    assert (
        starts[0] == pytest.approx(0, abs=0.1)
        and kind_of_features(ingested[0].features) == ingested[1].features
    )
    fit_codebook(store, ingested, [], TokenOptions(k=2, depth=1), lambda *_: None)  # of one kind: not refused

    before = dataclasses.replace(ingested[0], features=ingested[1].features)
    arrays = {"values": values, "starts": starts + 36_000}
    about = canonical_json({"problems": [], "reader": "pyav", "recipe": {}})
    write_whole(
        store.features(before.video, before.features), safetensors.numpy.save(arrays, {"about": about})
    )
    codebook = next(store.codebook("").iterdir()).name
    encode_videos(store, codebook, [before], lambda *_: None)
    assert read_material(store, codebook, before).starts[0] >= 36_000

    after = ingest.ingest(store, before, options, "cpu", threads=1).applied_to(before)
    encode_videos(store, codebook, [after], lambda *_: None)
    assert read_material(store, codebook, after).starts[0] == pytest.approx(0, abs=0.1)
