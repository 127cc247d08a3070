"""The decoder: written piece by piece it has the states that it has when it reads a whole text."""

import joint_samples
import torch

from multimodal.joint.decoder import Decoder


def decoder(seed: int = 0, layers: int = 2) -> Decoder:
    """Random weights that are large enough for all of them to count."""
    torch.manual_seed(seed)
    found = Decoder(joint_samples.options(), layers, 0.1).eval()
    for parameter in found.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return found


def test_piece_by_piece_its_states_are_those_of_the_whole_text():
    """Beams change places from piece to piece, and a text that is done is written no further."""
    network, random = decoder(), torch.Generator().manual_seed(1)
    attended = torch.randn(3, 5, 32, generator=random)
    present = torch.arange(5) < torch.tensor([5, 2, 4])[:, None]
    live, history = torch.arange(3), torch.zeros(3, 1, 0, 32)
    moved = 0.0
    with torch.no_grad():
        cache = network.begin(attended, present)
        for length in range(18):
            if length:
                kept = torch.tensor([0, 2]) if length == 17 else torch.arange(len(live))
                parents = torch.randint(history.shape[1], (len(kept), 2), generator=random)
                cache.keep(kept, parents)
                live, history = live[kept], history[kept[:, None], parents]
            rows = torch.randn(*history.shape[:2], 32, generator=random)
            history = torch.cat([history, rows[:, :, None]], 2)
            found = network.step(rows, cache)
            for beam in range(history.shape[1]):
                whole = network.states(history[:, beam], attended[live], present[live])
                torch.testing.assert_close(found[:, beam], whole[:, -1], atol=1e-5, rtol=1e-5)
            moved = max(moved, float((found[:, 0] - found[:, -1]).abs().max()))
    assert moved > 0.1, "beams that are all alike would show nothing"
