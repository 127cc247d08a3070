"""HDR: pictures coded by PQ or HLG in BT.2020's colours, as SDR pictures in BT.709's, which the networks know.

PQ is SMPTE ST 2084, HLG is ARIB STD-B67; both are in ITU-R BT.2100. Reference white is that of BT.2408.
Shapes: H x W pixels.
"""

from __future__ import annotations

import numpy as np

TRANSFERS = {16: "PQ", 18: "HLG"}
"""AVColorTransferCharacteristic -> the name of the curve."""
REFERENCE_WHITE = 203.0
"""The luminance of white in graphics and in paper, in cd/m2: SDR's white."""
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2
KNEE = 0.75
"""Up to here light stays as it is; what is brighter is compressed, so that no highlight is cut off."""
SDR_GAMMA = 2.4
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)


def to_sdr(rgb_HW3: np.ndarray, transfer: str) -> np.ndarray:
    """uint8 [H, W, 3] of float32 [H, W, 3], the coded values from 0 to 1 of the curve `transfer`, PQ or HLG."""
    light = _luminance(np.clip(rgb_HW3, 0, 1), transfer) / REFERENCE_WHITE
    brightest = np.maximum(light.max(-1, keepdims=True), 1e-6)
    above = np.maximum(brightest - KNEE, 0)
    compressed = np.where(above > 0, KNEE + (1 - KNEE) * above / (above + 1 - KNEE), brightest)
    light = np.clip((light * (compressed / brightest)) @ _TO_BT709.T, 0, 1)
    return np.rint(255 * light ** (1 / SDR_GAMMA)).astype(np.uint8)


def _luminance(coded: np.ndarray, transfer: str) -> np.ndarray:
    """cd/m2 of each colour."""
    if transfer == "PQ":
        power = coded ** np.float32(1 / _M2)
        return 10_000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** np.float32(1 / _M1)
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - _C) / _A) + _B) / 12)
    return HLG_PEAK * scene * (scene @ _LUMA)[..., None] ** np.float32(HLG_GAMMA - 1)
