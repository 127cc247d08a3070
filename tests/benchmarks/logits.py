"""Logits of a few states over a large table, beside PyTorch's linear layer: `OMP_NUM_THREADS=1 python tests/benchmarks/logits.py`.

51,258 rows (30,522 words, 20,736 visual tokens) of 384 numbers, float32: milliseconds, the best of 7 in turn.
"""

import time

import torch
import torch.nn.functional as F

from multimodal.joint.large_vocabulary import TiedLogits

ROWS, WIDTH = 51_258, 384
STATES = (1, 2, 4, 8, 16, 32, 64, 128)
ROUNDS = 7


def main() -> None:
    torch.manual_seed(0)
    table, bias = torch.randn(ROWS, WIDTH), torch.randn(ROWS)
    print(f"{'states':>6}{'linear':>9}{'ours':>9}{'ratio':>7}")
    for states in STATES:
        x = torch.randn(states, WIDTH)
        best = [float("inf")] * 2
        for _ in range(ROUNDS):
            for n, product in enumerate((F.linear, TiedLogits.apply)):
                began = time.perf_counter()
                with torch.no_grad():
                    product(x, table, bias)
                best[n] = min(best[n], 1000 * (time.perf_counter() - began))
        print(f"{states:6}{best[0]:9.1f}{best[1]:9.1f}{best[0] / best[1]:7.2f}")


if __name__ == "__main__":
    main()
