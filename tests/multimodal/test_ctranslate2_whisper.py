"""A Whisper checkpoint made of its CTranslate2 conversion is the published file, byte for byte."""

import hashlib
import io

import numpy as np
import pytest
import torch

from multimodal.store import InputError
from multimodal.weights.ctranslate2_whisper import checkpoint
from speech.checkpoints import CHECKPOINTS

DTYPES = {np.dtype(np.float16): 4, np.dtype(np.int16): 2, np.dtype(np.int8): 1}
PARTS = {
    "mlp_ln": "ffn/layer_norm", "mlp.0": "ffn/linear_0", "mlp.2": "ffn/linear_1",
    "attn_ln": "self_attention/layer_norm", "cross_attn_ln": "attention/layer_norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(weights_or_skip) -> dict:
    """The published tiny.en."""
    return torch.load(weights_or_skip("whisper-tiny.en"), map_location="cpu", weights_only=True)


def converted(published: dict) -> dict[str, np.ndarray]:
    """The variables that CTranslate2's converter writes for a Whisper, in float16."""
    state = {name: tensor.numpy() for name, tensor in published["model_state_dict"].items()}
    dims = published["dims"]
    arrays = {
        "decoder/embeddings/weight": state["decoder.token_embedding.weight"],
        "encoder/num_heads": np.array(dims["n_audio_head"], np.int16),
        "decoder/num_heads": np.array(dims["n_text_head"], np.int16),
        "decoder/alibi": np.array(0, np.int8),
    }
    for side in ("encoder", "decoder"):
        arrays[f"{side}/position_encodings/encodings"] = state[f"{side}.positional_embedding"]
    for norm, path in (("encoder.ln_post", "encoder/layer_norm"), ("decoder.ln", "decoder/layer_norm")):
        arrays[f"{path}/gamma"], arrays[f"{path}/beta"] = state[f"{norm}.weight"], state[f"{norm}.bias"]
    for name in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            arrays[f"encoder/{name}/{kind}"] = state[f"encoder.{name}.{kind}"]
    for side, layers in (("encoder", dims["n_audio_layer"]), ("decoder", dims["n_text_layer"])):
        for n in range(layers):
            block, layer = f"{side}.blocks.{n}", f"{side}/layer_{n}"
            for part, path in PARTS.items():
                if f"{block}.{part}.weight" in state:
                    kinds = ("gamma", "beta") if part.endswith("ln") else ("weight", "bias")
                    for kind, own in zip(kinds, ("weight", "bias"), strict=True):
                        arrays[f"{layer}/{path}/{kind}"] = state[f"{block}.{part}.{own}"]
            for part, path in (("attn", "self_attention"), ("cross_attn", "attention")):
                if f"{block}.{part}.out.weight" not in state:
                    continue
                own = {
                    k: state[f"{block}.{part}.{k}"] for k in ("query.weight", "key.weight", "value.weight")
                }
                biases = [state[f"{block}.{part}.query.bias"], None, state[f"{block}.{part}.value.bias"]]
                biases[1] = np.zeros_like(biases[0])
                rows = list(zip(own.values(), biases, strict=True))
                groups = [rows] if part == "attn" else [rows[:1], rows[1:]]
                for at, group in enumerate(groups):
                    arrays[f"{layer}/{path}/linear_{at}/weight"] = np.concatenate([w for w, _ in group])
                    arrays[f"{layer}/{path}/linear_{at}/bias"] = np.concatenate([b for _, b in group])
                out = f"{layer}/{path}/linear_{len(groups)}"
                arrays[f"{out}/weight"] = state[f"{block}.{part}.out.weight"]
                arrays[f"{out}/bias"] = state[f"{block}.{part}.out.bias"]
    return dict(sorted(arrays.items()))


def model_file(arrays: dict[str, np.ndarray], kind: str = "WhisperSpec") -> io.BytesIO:
    """CTranslate2's model.bin, binary version 6."""

    def text(name: str) -> bytes:
        return (len(name) + 1).to_bytes(2, "little") + name.encode() + b"\0"

    out = (6).to_bytes(4, "little") + text(kind) + (3).to_bytes(4, "little")
    out += len(arrays).to_bytes(4, "little")
    parts = [out]
    for name, array in arrays.items():
        shape = b"".join(size.to_bytes(4, "little") for size in array.shape)
        parts.append(text(name) + bytes([array.ndim]) + shape + bytes([DTYPES[array.dtype]]))
        parts += [array.nbytes.to_bytes(4, "little"), np.ascontiguousarray(array).tobytes()]
    return io.BytesIO(b"".join(parts))


def test_the_checkpoint_is_the_published_one_to_the_byte(tiny):
    made = checkpoint(model_file(converted(tiny)))
    assert hashlib.sha256(made).hexdigest() == CHECKPOINTS["tiny.en"].sha256


def test_one_number_that_differs_shows_in_the_digest(tiny):
    arrays = converted(tiny)
    changed = arrays["decoder/layer_norm/beta"].copy()
    changed[0] += np.float16(0.001)
    made = checkpoint(model_file(arrays | {"decoder/layer_norm/beta": changed}))
    assert hashlib.sha256(made).hexdigest() != CHECKPOINTS["tiny.en"].sha256


def test_another_model_is_refused(tiny):
    arrays = converted(tiny)
    with pytest.raises(InputError, match="TransformerSpec"):
        checkpoint(model_file(arrays, "TransformerSpec"))
    del arrays["encoder/conv1/weight"]
    with pytest.raises(InputError, match="conv1"):
        checkpoint(model_file(arrays))
    with pytest.raises(InputError, match="no Whisper"):
        checkpoint(io.BytesIO(model_file(arrays).getvalue()[:1000]))
