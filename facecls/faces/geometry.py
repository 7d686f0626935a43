"""From an image to S x S pixels: central crop, fit, resize. Training, evaluation and prediction share it."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from facecls.errors import ImageError
from facecls.faces.decode import Source, open_image, upright_rgb
from facecls.faces.detect import DetectorOptions

PADDING = (128, 128, 128)
"""The colour of `fit="pad"`: mid-grey, which is about 0 after normalisation, like the zero padding of convolutions."""

# Half the work of BICUBIC and no ringing along hard edges (glasses, hair). Pillow antialiases: its filter widens with the
# factor of reduction.
_RESAMPLE = Image.Resampling.BILINEAR

# Images larger than this many times the output are first reduced by averaging blocks, which is faster and changes a pixel
# by at most a few levels.
_REDUCING_GAP = 3.0


@dataclass(frozen=True)
class Detection:
    """How faces are found in photographs and cut out.

    margin: what is shown around the template's square, on each side, as a share of it; as in `align`.
    whole_if_none: an image without a face is taken as a whole, instead of being an error.
    """

    detector: str = "yunet"
    options: DetectorOptions = field(default_factory=DetectorOptions)
    margin: float = 0.0
    whole_if_none: bool = False


@dataclass(frozen=True)
class Geometry:
    """Central crop, fit and resize in a single resampling; checkpoints store it as `dataclasses.asdict` returns it.

    image_size: S, side of the output, pixels.
    crop: share of each side that the central crop keeps, in (0, 1].
    fit: how a non-square image becomes square: `crop` to the central square, `pad` with grey, `stretch`.
    detection: how faces are found, see `photograph.py`; None: the image is one face. With it, crop and fit are only for images
        that are taken as a whole.
    """

    image_size: int
    crop: float = 1.0
    fit: Literal["crop", "pad", "stretch"] = "crop"
    detection: Detection | None = None

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Geometry":
        """The inverse of `dataclasses.asdict`."""
        detection = plain.get("detection")
        if detection is not None:
            options = detection["options"]
            detection = Detection(**detection | {"options": DetectorOptions(**options | {"sizes": tuple(options["sizes"])})})
        return cls(**plain | {"detection": detection})

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


ImageSource: TypeAlias = Source | Image.Image | npt.NDArray[np.uint8]
"""An image file by path, content or file object; a PIL image; or RGB pixels, uint8 (H, W, 3)."""


def read_face(source: ImageSource, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """An image, as one face, to uint8 (S, S, 3). Raises ImageError if it cannot be read or is an array of another kind."""
    if isinstance(source, np.ndarray):
        return geometry(array_image(source))
    if isinstance(source, Image.Image):
        return geometry(upright_rgb(source))
    return geometry(open_image(source, at_least=math.ceil(geometry.image_size / geometry.crop)))


def array_image(array: npt.NDArray[np.uint8]) -> Image.Image:
    """RGB pixels as a PIL image; raises ImageError if the array is not uint8 (H, W, 3)."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError("image", f"is an array of {array.dtype} {array.shape}, not of uint8 (H, W, 3)")
    return Image.fromarray(array)
