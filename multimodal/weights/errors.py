"""The error of weights that cannot be had."""

from multimodal.store import InputError


class WeightsUnavailable(InputError):
    """No place gave the weights; where the network was at fault, a later try may succeed."""
