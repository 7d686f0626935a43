"""Photographs for tests: drawn faces of people whom the detector finds, pasted into larger images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import random_person, random_photograph

PEOPLE = (4, 8)


def face(person: int, number: int, side: int) -> Image.Image:
    """A drawn face of `side` pixels."""
    return draw_face(random_person(0, person), random_photograph(0, person, number)).resize((side, side))


def write_photographs(root: Path, each: int = 8) -> Path:
    """Two folders of people, each image with one face of 150 pixels somewhere in it; returns the root."""
    random = np.random.default_rng(0)
    for person in PEOPLE:
        for number in range(each):
            image = Image.new("RGB", (480, 360), (120, 130, 140))
            x, y = random.integers(20, 190, 2).tolist()
            image.paste(face(person, number, 150), (x, y))
            path = root / "photographs" / f"person{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return root / "photographs"


def paste_faces(path: Path, size: tuple[int, int], places: Sequence[tuple[int, int, int]]) -> None:
    """An image with a face at each (x, y, side)."""
    image = Image.new("RGB", size, (120, 130, 140))
    for number, (x, y, side) in enumerate(places):
        image.paste(face(PEOPLE[number % 2], number, side), (x, y))
    image.save(path, quality=92)
