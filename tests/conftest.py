"""Shared fixtures: one thread, synthetic faces drawn once per session, and a command line runner."""

import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from facecls.synthetic.write import write_faces
from tests.photographs import write_photographs

torch.set_num_threads(1)  # with more threads than idle cores torch is far slower

TINY: dict[str, Any] = {
    "device": "cpu",  # tests compare bits computed on the CPU
    "precision": "fp32",  # `auto` is measured: it may change from one machine or number of threads to another
    "data": {"image_size": 32},
    "model": {"name": "cnn"},
    "optimizer": {"name": "adamw", "lr": 3e-3},
    "schedule": {"warmup_epochs": 1},
    "train": {"epochs": 2, "batch_size": 16, "ema": 0.9},
}


@dataclass(frozen=True)
class Result:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _separate_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests from reading or filling the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _restore_sigint() -> None:
    """Background processes of a shell ignore SIGINT, and the processes that a test starts would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four people with twelve images each."""
    folder = tmp_path_factory.mktemp("drawn") / "faces"
    for _ in write_faces(folder, people=4, each=12, seed=0):
        pass
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with eight photographs each, in which the detector finds a face."""
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """The folder of a short run on the images of `faces`: better than chance, but its threshold rejects few impostors."""
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "people.yaml"
    config.write_text(
        "device: cpu\nprecision: fp32\n"
        f"data: {{root: {faces}, image_size: 32}}\nmodel: {{name: cnn}}\noptimizer: {{name: adamw, lr: 3e-3}}\n"
        "train: {epochs: 15, batch_size: 8}\nsplit: {val: 0.25}\n"
    )
    command = [sys.executable, "-m", "facecls", "train", str(config), "--out", str(folder / "run")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "run"


@pytest.fixture(scope="session")
def impostors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images each of ten other people."""
    folder = tmp_path_factory.mktemp("drawn") / "strangers"
    for _ in write_faces(folder, people=10, each=2, seed=0, first_person=4):
        pass
    return folder


@pytest.fixture
def facecls(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command line through `main()`."""
    from facecls.cli import main

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["facecls", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else int(code is not None), out, err)

    return run


@pytest.fixture
def tiny(tmp_path: Path, faces: Path) -> Callable[..., Path]:
    """Writes a config that trains in a second; keyword arguments are sections that override it."""

    def write(**sections: Any) -> Path:
        config = TINY | {
            name: {**TINY.get(name, {}), **value} if isinstance(value, dict) else value for name, value in sections.items()
        }
        config["data"] = {"root": str(faces), **config["data"]}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    return write


Noise = Callable[..., Path]


def write_noise(path: Path, size: tuple[int, int] = (20, 16)) -> Path:
    """Writes an image of noise that is a function of the file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Noise:
    """Creates `tmp_path/faces` with the given number of images per class: `noise(ada=3, bob=2)`."""

    def make(root: Path = tmp_path / "faces", suffix: str = ".png", **classes: int) -> Path:
        for name, count in classes.items():
            for number in range(count):
                write_noise(root / name / f"{name}{number}{suffix}")
        return root

    return make
