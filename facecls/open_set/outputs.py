"""The outputs of a model for N faces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outputs:
    """What a model says of N faces, in their order."""

    logits: NDArray[np.float32]  # (N, C), or (N, 0) where only features were wanted
    features: NDArray[np.float32]  # (N, F), or (N, 0) where only logits were wanted

    def take(self, indices: NDArray[np.int64]) -> "Outputs":
        return Outputs(self.logits[indices], self.features[indices])


@dataclass(frozen=True)
class ImpostorOutputs:
    """What a model says of N composites, and which images they are made of."""

    outputs: Outputs
    sources: NDArray[np.int64]  # (N, 3), numbers of images
