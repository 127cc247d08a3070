"""Whisper models, loaded from a file whose digest is known."""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
import whisper
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from whisper.model import MultiHeadAttention

from speech.checkpoints import CHECKPOINTS
from speech.errors import SpeechModelError

_NAMES = {checkpoint.sha256: name for name, checkpoint in reversed(CHECKPOINTS.items())}


@dataclass(frozen=True, eq=False)
class SpeechModel:
    """A loaded Whisper, with the name and the SHA-256 (hex) of its weights."""

    whisper: whisper.Whisper
    name: str
    sha256: str


def load(name_or_path: str | Path, folder: str | Path | None, device: str | torch.device) -> SpeechModel:
    """A Whisper model by its name (its file, as published, is in `folder`) or by the path of its file.

    A named model's SHA-256 must be the published one. Nothing is downloaded and no pickle is run. Raises
    SpeechModelError, and OSError where the file cannot be read.
    """
    name = str(name_or_path)
    if name in CHECKPOINTS:
        digest = CHECKPOINTS[name].sha256
        file = Path(folder or "") / CHECKPOINTS[name].file
    else:
        digest, file = None, Path(name)
    if not file.is_file():
        known = ", ".join(CHECKPOINTS)
        raise SpeechModelError(
            f"{name}: no Whisper weights at {file}; give a file, or put one there for: {known}"
        )
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest is None:
        named = _NAMES.get(found)
    elif found != digest:
        raise SpeechModelError(f"{file}: its SHA-256 is {found}, not {digest} as published; fetch it again")
    else:
        named = name
    # Whisper knows the heads that align words with audio by the model's name; of a nameless file it takes every head of
    # the later layers, which blurs the times of words.
    try:
        if named and file.name == CHECKPOINTS[named].file:
            model = whisper.load_model(named, device=device, download_root=str(file.parent))
        else:
            model = whisper.load_model(str(file), device=device)
            if named:
                model.set_alignment_heads(whisper._ALIGNMENT_HEADS[named])
    except (pickle.UnpicklingError, KeyError, TypeError, RuntimeError, EOFError, ValueError) as error:
        raise SpeechModelError(
            f"{file}: is not a Whisper checkpoint ({_first_line(error)}); fetch it again"
        ) from error
    _set_attention(model)
    return SpeechModel(model.eval(), named or file.stem, found)


def _set_attention(model: whisper.Whisper) -> None:
    """Fixes for each layer whether its attention weights can be read.

    Whisper's aligner sets `MultiHeadAttention.use_sdpa`, an attribute of the class, while it works. Other threads see
    it: their results change, or their weights are missing. Here the cross-attention of the decoder, which the aligner
    reads, always returns its weights, and every other layer uses PyTorch's fused attention.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.__class__ = _FusedAttention
    for block in model.decoder.blocks:
        block.cross_attn.__class__ = _ReadableAttention


class _FusedAttention(MultiHeadAttention):
    """Attention without weights. q, k, v: [batch, tokens, state]."""

    def qkv_attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        q, k, v = (x.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for x in (q, k, v))
        out = scaled_dot_product_attention(q, k, v, is_causal=mask is not None and q.shape[2] > 1)
        return out.transpose(1, 2).flatten(2), None


class _ReadableAttention(_FusedAttention):
    """Cross-attention, where nothing is masked, with its weights before the softmax, [batch, heads, queries, keys].

    A single query, as in decoding token by token, is never aligned: it takes the fused way.
    """

    def qkv_attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if q.shape[1] == 1:
            return super().qkv_attention(q, k, v)
        q, k, v = (x.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for x in (q, k, v))
        # As in openai-whisper: half of the scale on each side keeps float16 products in range.
        scale = q.shape[-1] ** -0.25
        weights = ((q * scale) @ (k * scale).transpose(-1, -2)).float()
        out = torch.softmax(weights, -1).to(q.dtype) @ v
        return out.transpose(1, 2).flatten(2), weights.detach()


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware. Elsewhere bfloat16 is slower than float32.

    False also where PyTorch's variable ``ATEN_CPU_CAPABILITY`` is ``avx2`` or ``default``: so a processor without the
    instructions can be tried on one that has them.
    """
    if os.environ.get("ATEN_CPU_CAPABILITY") in ("avx2", "default"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
