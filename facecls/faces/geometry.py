"""The one way from an image to S x S pixels (crop, fit, resize); data, predict and export all use it."""

import math
import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from facecls.faces.decode import open_image

PADDING = (128, 128, 128)
"""What `fit="pad"` fills up with: the middle of the range, which normalisation takes to about 0, the value that
convolutions pad with themselves. Black, or a colour of the image, would be a feature that is not the face's."""

# Half the work of BICUBIC, and no rings of false light along hard edges, which it leaves around glasses and hair;
# Pillow widens the filter with the factor of shrinking, so that nothing is skipped (antialiasing).
_RESAMPLE = Image.Resampling.BILINEAR

# Larger images than this many times the wanted size are first averaged down in whole blocks, which is faster
# and changes a pixel by at most a few levels.
_REDUCING_GAP = 3.0


@dataclass(frozen=True)
class Geometry:
    """Central share -> fit -> resize, in a single resampling; stored in checkpoints by `dataclasses.asdict`.

    image_size: S, pixels, the side of the square that comes out.
    crop: central share of each side that is kept, in (0, 1].
    fit: how an oblong becomes a square: `crop` keeps its central square, `pad` keeps all and fills up with grey,
        `stretch` keeps all and changes its proportions.
    """

    image_size: int
    crop: float = 1.0
    fit: Literal["crop", "pad", "stretch"] = "crop"

    def __post_init__(self) -> None:
        assert self.image_size >= 1 and 0 < self.crop <= 1 and self.fit in ("crop", "pad", "stretch"), self

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """uint8 (S, S, 3) of an RGB image of any size."""
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
    """uint8 (S, S, 3) of an image's file. Raises ImageError if that cannot be read."""
    return geometry(open_image(path, at_least=math.ceil(geometry.image_size / geometry.crop)))
