"""Small folders of noise, which tell any two pictures apart."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Noise = Callable[..., Path]


def write_noise(path: Path, size: tuple[int, int] = (20, 16)) -> Path:
    """A picture that follows from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Noise:
    """Makes `tmp_path/faces` with so many pictures in each class: `noise(ada=3, bob=2)`."""

    def make(root: Path = tmp_path / "faces", suffix: str = ".png", **classes: int) -> Path:
        for name, count in classes.items():
            for number in range(count):
                write_noise(root / name / f"{name}{number}{suffix}")
        return root

    return make
