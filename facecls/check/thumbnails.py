"""Thumbnails of the images that findings are about, for the pages of a check and of a run."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from facecls.check.findings import AuditedImages
from facecls.config.schema import DataConfig
from facecls.data.load import geometry_of
from facecls.errors import ImageError
from facecls.faces.detect import Pixels
from facecls.faces.geometry import Geometry, read_face
from facecls.faces.photograph import FoundFaces, cut_face
from facecls.report.page import image_url

_SIDE = 112  # pixels
_MAIN, _OTHER = (255, 210, 0), (255, 255, 255)  # colours of boxes


def thumbnail_geometry(data: DataConfig) -> Geometry:
    """The geometry of thumbnails: that of training, but of whole images in 112 pixels."""
    return replace(geometry_of(data), image_size=_SIDE, crop=1.0, fit="pad")


def thumbnail_url(images: AuditedImages, index: int, kind: str, geometry: Geometry) -> str:
    """An image as a `data:` URL: whole, padded to a square, with or without boxes, or its main face; empty if unreadable."""
    path = images.paths[index]
    found = None if images.detections is None else images.detections.found[index]
    try:
        if kind == "cut" and found is not None:
            return image_url(cut_face(path, found.faces[0], geometry))
        if kind == "boxes" and found is not None:
            return image_url(_with_boxes(read_face(path, replace(geometry, image_size=2 * _SIDE)), found))
        return image_url(read_face(path, geometry))
    except ImageError:
        return ""


def _with_boxes(padded: Pixels, found: FoundFaces) -> Pixels:
    """The image, padded to a square (S, S, 3), with the boxes of its faces, that of the main face in another colour."""
    image = Image.fromarray(padded)
    scale = image.width / max(found.width, found.height)
    left, top = ((image.width - scale * side) / 2 for side in (found.width, found.height))
    draw = ImageDraw.Draw(image)
    for number, face in reversed(list(enumerate(found.faces))):
        x, y, width, height = (scale * value for value in face.box)
        corners = (left + x, top + y, left + x + width, top + y + height)
        draw.rectangle(corners, outline=_MAIN if number == 0 else _OTHER, width=3 if number == 0 else 1)
    return np.asarray(image)
