"""Reads and writes checkpoints: plain tensors and values, written atomically and read without running code."""

import hashlib
import io
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from facecls import __version__
from facecls.config.schema import Config, HeadConfig, ModelConfig
from facecls.device import Device
from facecls.errors import CheckpointError
from facecls.faces.geometry import Geometry
from facecls.files import write_atomic
from facecls.models import build_model
from facecls.models.classifier import FaceClassifier
from facecls.open_set.calibration import UNCALIBRATED, Calibration
from facecls.text import name_list

FORMAT = 1

_T = TypeVar("_T")
_FIELDS = ("classes", "geometry", "model", "head", "config", "weights", "metrics", "calibration", "calibration_flipped")

_HINT = "use a best.pt or last.pt that `facecls train` wrote"
_VERSION_HINT = "use the version of facecls that wrote it, or train again"
_INCOMPLETE = "is not a checkpoint, or an incomplete one"


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier with everything that is needed to use it."""

    classes: tuple[str, ...]
    geometry: Geometry
    model: ModelConfig
    head: HeadConfig
    config: Config
    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    calibration: Calibration | None = None  # None until training has ended
    calibration_flipped: Calibration | None = None  # for outputs averaged over each image and its mirror image

    def build(self, device: Device) -> FaceClassifier:
        """The classifier on the device, in eval mode; raises CheckpointError if the weights do not fit the model."""
        with torch.device("meta"):  # skips the initialisation of weights, which are replaced below
            model = build_model(self.model, self.head, classes=len(self.classes), image_size=self.geometry.image_size)
        try:
            model.load_state_dict(self.weights, assign=True)
        except RuntimeError as error:
            mismatches = [line.strip().rstrip(". ") for line in str(error).splitlines()[1:]]
            raise CheckpointError(
                f"the weights of the checkpoint do not fit its model `{self.model.name}`", *mismatches, hint=_VERSION_HINT
            ) from None
        device.place(model)
        return model.eval()

    def calibration_for(self, *, mirrored: bool = False) -> Calibration:
        """The calibration for outputs without or with test-time flipping; UNCALIBRATED until training has ended."""
        return (self.calibration_flipped if mirrored else None) or self.calibration or UNCALIBRATED

    def fingerprint(self, *options: object) -> str:
        """A 48-bit hash, hexadecimal, of what determines predictions: weights, calibration, geometry and `options`."""
        digest = hashlib.blake2b(digest_size=6)
        sections = self.model.model_dump_json(), self.head.model_dump_json()
        digest.update(repr((self.classes, self.geometry, *sections, options)).encode("utf-8", "surrogatepass"))
        tensors = dict(self.weights)
        for name, calibration in (("calibration", self.calibration), ("flipped", self.calibration_flipped)):
            plain = calibration and _calibration_to_plain(calibration)
            gallery = (plain and plain.pop("gallery")) or {}
            tensors |= {f"{name}.{key}": value for key, value in gallery.items() if isinstance(value, Tensor)}
            digest.update(repr(plain).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def to_plain(checkpoint: Checkpoint, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of a checkpoint file; `training` is the state that only resuming needs."""
    return {
        "format": FORMAT,
        "facecls": __version__,
        "torch": str(torch.__version__),
        "classes": list(checkpoint.classes),
        "geometry": asdict(checkpoint.geometry),
        "model": checkpoint.model.model_dump(mode="json"),
        "head": checkpoint.head.model_dump(mode="json"),
        "config": checkpoint.config.model_dump(mode="json"),
        "weights": checkpoint.weights,
        "metrics": checkpoint.metrics,
        "calibration": checkpoint.calibration and _calibration_to_plain(checkpoint.calibration),
        # Both have the same gallery, which is stored once.
        "calibration_flipped": checkpoint.calibration_flipped and checkpoint.calibration_flipped.to_plain() | {"gallery": None},
        "training": training,
    }


def save(path: Path, plain: dict[str, Any]) -> None:
    """Writes a checkpoint file atomically; raises RunError if it cannot be written."""
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    write_atomic(path, buffer.getbuffer())


def read_plain(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file; no code in it is run.

    Raises CheckpointError if the file is missing, damaged, not written by facecls, written by a newer version, or if it lacks
    a field.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint", hint=_HINT)
    if path.is_dir():
        inner = sorted(each.parent.name for each in path.glob("*/best.pt"))
        hint = f"name one of the runs in it: {name_list(inner)}" if inner else _HINT
        raise CheckpointError(f"{path}: holds no best.pt", hint=hint)
    try:
        _refuse_other_bytes(path)
        # Windows cannot replace a memory-mapped file, and training replaces last.pt and best.pt.
        mapped = sys.platform != "win32" and zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files of other programs, which raise an error below
            plain = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (CheckpointError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL (\S+)", str(error))  # the first global that torch does not allow
        problem = f"is refused: reading it would run pickled code (`{unsafe[1]}`)" if unsafe else _INCOMPLETE
        raise CheckpointError(f"{path}: {problem}", hint=_HINT) from None
    except PermissionError:
        raise CheckpointError(f"{path}: permission denied") from None
    except Exception:  # torch.load raises many kinds of errors on arbitrary bytes
        raise CheckpointError(f"{path}: {_INCOMPLETE}", hint=_HINT) from None
    if not isinstance(plain, dict) or not isinstance(plain.get("format"), int):
        raise CheckpointError(f"{path}: is a torch file, but not a checkpoint of facecls", hint=_HINT)
    if plain["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: was written by facecls {plain.get('facecls')}, which is newer than the installed {__version__}",
            hint="`pip install --upgrade facecls`",
        )
    missing = [f"{field}: is missing" for field in _FIELDS if field not in plain]
    if missing:
        raise other_version_error(path, plain, missing)
    return plain


def read(path: Path) -> Checkpoint:
    """The classifier in a checkpoint file or in the best.pt of a run directory.

    Raises CheckpointError as `read_plain` does, and if a field does not fit this version, such as an unknown config key.
    """
    path = path / "best.pt" if (path / "best.pt").exists() else path
    plain = read_plain(path)
    problems: list[str] = []

    def field(name: str, convert: Callable[[Any], _T]) -> _T | None:
        """The converted field; None after appending to `problems` if it does not fit."""
        try:
            return convert(plain[name])
        except ValidationError as error:
            for mistake in error.errors():
                unknown = mistake["type"] == "extra_forbidden"
                problem = "is not a key of this version" if unknown else f"{mistake['msg']}, got {mistake['input']!r}"
                problems.append(f"{'.'.join(map(str, (name, *mistake['loc'])))}: {problem}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{name}: {'is missing ' if isinstance(error, KeyError) else ''}{error}")
        return None

    config = field("config", Config.model_validate)
    model = field("model", ModelConfig.model_validate)
    head = field("head", HeadConfig.model_validate)
    geometry = field("geometry", Geometry.from_plain)
    calibration = field("calibration", lambda value: value and _calibration_from_plain(value))
    flipped = field("calibration_flipped", lambda value: value and Calibration.from_plain(value))
    if problems or not (config and model and head and geometry):
        raise other_version_error(path, plain, problems)
    return Checkpoint(
        classes=tuple(plain["classes"]),
        geometry=geometry,
        model=model,
        head=head,
        config=config,
        weights=plain["weights"],
        metrics=plain["metrics"],
        calibration=calibration,
        calibration_flipped=calibration and flipped and replace(flipped, gallery=calibration.gallery),
    )


def other_version_error(path: Path, plain: dict[str, Any], problems: list[str]) -> CheckpointError:
    """The error for the content of a checkpoint that does not fit this version of facecls."""
    return CheckpointError(
        f"{path}: was written by facecls {plain.get('facecls')} and cannot be read by the installed {__version__}",
        *problems,
        hint=_VERSION_HINT,
    )


def _calibration_to_plain(calibration: Calibration) -> dict[str, Any]:
    plain = calibration.to_plain()
    if plain["gallery"] is not None:
        vectors, labels = torch.from_numpy(plain["gallery"]["vectors"]).half(), torch.from_numpy(plain["gallery"]["labels"])
        plain["gallery"] |= {"vectors": vectors, "labels": labels}
    return plain


def _calibration_from_plain(plain: dict[str, Any]) -> Calibration:
    gallery = plain["gallery"] and plain["gallery"] | {
        "vectors": plain["gallery"]["vectors"].float().numpy(),
        "labels": plain["gallery"]["labels"].numpy(),
    }
    return Calibration.from_plain(plain | {"gallery": gallery})


def _refuse_other_bytes(path: Path) -> None:
    """Raises CheckpointError if torch did not write the file, or if its checksums do not match."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()  # torch.load does not verify the checksums
        if changed is not None:
            raise CheckpointError(f"{path}: is damaged: a checksum does not match", hint="copy the file again")
        return
    with path.open("rb") as file:
        if file.read(1) != b"\x80":  # the first byte of a pickle, the format before torch 1.6
            raise CheckpointError(f"{path}: {_INCOMPLETE}", hint=_HINT)
