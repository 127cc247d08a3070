"""What the captioner looks at: how much of the attention of each word of a caption goes to each clip of its moment."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from multimodal.captioning.dataset import CaptionInput, collate, encode_views
from multimodal.captioning.generation import BEGIN
from multimodal.captioning.trained import TrainedCaptioner
from multimodal.inference.trained import Trained
from multimodal.joint.caption_decoder import CLIP


@dataclasses.dataclass(frozen=True)
class WordAttention:
    """``words`` of a caption, and ``share_WC`` of the attention to the moment that each pays to each of its clips; what is left
    goes to the template's blanks and the words beside the moment."""

    words: tuple[str, ...]
    share_WC: np.ndarray


@torch.no_grad()
def word_attention(
    trained: Trained, captioner: TrainedCaptioner, asked: CaptionInput, caption: str
) -> WordAttention:
    """The attention to the encoder's memory while ``caption`` is written, the mean over heads and layers, and over the pieces of
    a word. A word of which no piece can be written is left out."""
    decoder = captioner.network
    places = {piece: place for place, piece in enumerate(decoder.shape.pieces)}
    pieces, of_word, words = [], [], []
    for word in caption.split():
        known = [places[piece] for piece in trained.vocabulary.encode(word) if piece in places]
        if known:
            of_word += [len(words)] * len(known)
            pieces += known
            words.append(word)
    memory = collate(encode_views(trained, [asked], captioner.options.template)).to(trained.model.device)
    clips_M = (memory.kind_NM[0] == CLIP).cpu().numpy()
    if not words:
        return WordAttention((), np.zeros((0, int(clips_M.sum()))))
    # A piece is chosen by the state at the piece before it.
    written_L = [BEGIN, *pieces][: decoder.shape.longest]
    rows_1LH = decoder.rows(torch.tensor([written_L], device=trained.model.device))
    weights_1LM = decoder.attention(rows_1LH, decoder.attended(memory), memory.present_NM)
    weights_LC = weights_1LM[0].cpu().numpy()[:, clips_M]
    of_word_L = np.array(of_word[: len(written_L)])
    share = np.stack([weights_LC[: len(of_word_L)][of_word_L == n].mean(0) for n in np.unique(of_word_L)])
    return WordAttention(tuple(words[: len(share)]), share)
