"""From an image to S x S pixels: central crop, fit, resize. Training, evaluation and prediction share it."""

import math
import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from facecls.faces.decode import open_image

PADDING = (128, 128, 128)
"""The colour of `fit="pad"`: mid-grey, which is about 0 after normalisation, like the zero padding of convolutions."""

# Half the work of BICUBIC and no ringing along hard edges (glasses, hair). Pillow antialiases: its filter widens with the
# factor of reduction.
_RESAMPLE = Image.Resampling.BILINEAR

# Images larger than this many times the output are first reduced by averaging blocks, which is faster and changes a pixel
# by at most a few levels.
_REDUCING_GAP = 3.0


@dataclass(frozen=True)
class Geometry:
    """Central crop, fit and resize in a single resampling; checkpoints store it as `dataclasses.asdict` returns it.

    image_size: S, side of the output, pixels.
    crop: share of each side that the central crop keeps, in (0, 1].
    fit: how a non-square image becomes square: `crop` to the central square, `pad` with grey, `stretch`.
    """

    image_size: int
    crop: float = 1.0
    fit: Literal["crop", "pad", "stretch"] = "crop"

    def __post_init__(self) -> None:
        assert self.image_size >= 1 and 0 < self.crop <= 1 and self.fit in ("crop", "pad", "stretch"), self

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """RGB image of any size to uint8 (S, S, 3)."""
        assert image.mode == "RGB", image.mode
        size = self.image_size
        width, height = (side * self.crop for side in image.size)
        if self.fit == "crop":
            width = height = min(width, height)
        left, top = (image.width - width) / 2, (image.height - height) / 2
        box = (left, top, image.width - left, image.height - top)
        if self.fit != "pad":
            return np.array(image.resize((size, size), _RESAMPLE, box, _REDUCING_GAP))
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = Image.new("RGB", (size, size), PADDING)
        square.paste(image.resize(inner, _RESAMPLE, box, _REDUCING_GAP), ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.array(square)


def read_face(path: str | os.PathLike[str], geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Image file to uint8 (S, S, 3). Raises ImageError if it cannot be read."""
    return geometry(open_image(path, at_least=math.ceil(geometry.image_size / geometry.crop)))
