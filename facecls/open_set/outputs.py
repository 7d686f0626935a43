"""A model's outputs for N faces: logits and features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outputs:
    """Logits and features of N faces, in their order."""

    logits: NDArray[np.float32]  # (N, C); (N, 0) if not computed
    features: NDArray[np.float32]  # (N, F); (N, 0) if not computed


@dataclass(frozen=True)
class ImpostorOutputs:
    """Outputs of N synthetic impostors, and the images each was made from."""

    outputs: Outputs
    sources: NDArray[np.int64]  # (N, 3), image numbers
