"""Checkpoints: plain tensors and plain values, written whole, read without running code, enough by themselves."""

import io
import pickle
import re
import sys
import warnings
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
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

FORMAT = 1

_HINT = "a checkpoint is the best.pt or last.pt that `facecls train` writes"


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier and all that its use needs."""

    classes: tuple[str, ...]
    geometry: Geometry
    model: ModelConfig
    head: HeadConfig
    config: Config
    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    calibration: Calibration | None = None  # None until training has ended
    calibration_flipped: Calibration | None = None  # of images that count together with their mirror images

    def build(self, device: Device) -> FaceClassifier:
        """The classifier on its device, ready to score."""
        with torch.device("meta"):  # its first weights would only be thrown away
            model = build_model(self.model, self.head, classes=len(self.classes), image_size=self.geometry.image_size)
        model.load_state_dict(self.weights, assign=True)
        device.place(model)
        return model.eval()

    def calibration_for(self, *, mirrored: bool = False) -> Calibration:
        """What holds for images as they are, or `mirrored` as well; NO_JUDGEMENT until training has ended."""
        return (self.calibration_flipped if mirrored else None) or self.calibration or UNCALIBRATED


def to_plain(checkpoint: Checkpoint, training: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is written to the file; `training` is what only going on needs."""
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
        "judgement": checkpoint.calibration and _calibration_to_plain(checkpoint.calibration),
        # The gallery is the same.
        "judgement_mirrored": checkpoint.calibration_flipped and checkpoint.calibration_flipped.to_plain() | {"gallery": None},
        "training": training,
    }


def save(path: Path, plain: dict[str, Any]) -> None:
    """Writes the file beside, fsyncs it, renames it; raises RunError where that cannot be."""
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    write_atomic(path, buffer.getbuffer())


def read_plain(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds; never runs code from it.

    Raises CheckpointError for a file that is missing, damaged, another program's or a newer facecls'.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint", hint=_HINT)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, not a checkpoint", hint=_HINT)
    try:
        _refuse_other_bytes(path)
        # Windows does not let a file that is mapped into memory be written anew, as last.pt and best.pt are.
        mapped = sys.platform != "win32" and _is_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what other programs' files are like, which is said below
            plain = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (CheckpointError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        # torch names the first global outside its list of harmless ones in the message.
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise CheckpointError(f"{path}: is not a checkpoint, or not a whole one", hint=_HINT) from None
        raise CheckpointError(
            f"{path}: holds pickled code (`{named[1]}`) that would run when it is read, so it is refused", hint=_HINT
        ) from None
    except PermissionError:
        raise CheckpointError(f"{path}: permission denied") from None
    except Exception:  # torch's reader runs over whatever bytes there are, and stumbles in many ways
        raise CheckpointError(f"{path}: is not a checkpoint, or not a whole one", hint=_HINT) from None
    if not isinstance(plain, dict) or not {"format", "classes", "geometry", "weights"} <= plain.keys():
        raise CheckpointError(f"{path}: is a torch file, but no checkpoint of facecls", hint=_HINT)
    if plain["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: was written by facecls {plain['facecls']}, which is newer than this one ({__version__})",
            hint="`pip install --upgrade facecls`",
        )
    return plain


def read(path: Path) -> Checkpoint:
    """The classifier in a checkpoint file, or in the best.pt of a run folder; raises CheckpointError as `read_plain`."""
    plain = read_plain(path / "best.pt" if (path / "best.pt").exists() else path)
    calibration = _calibration_of(plain)
    return Checkpoint(
        classes=tuple(plain["classes"]),
        geometry=Geometry(**plain["geometry"]),
        model=ModelConfig.model_validate(plain["model"]),
        head=HeadConfig.model_validate(plain["head"]),
        config=Config.model_validate(plain["config"]),
        weights=plain["weights"],
        metrics=plain["metrics"],
        calibration=calibration,
        calibration_flipped=_calibration_flipped_of(plain, calibration),
    )


def _calibration_to_plain(calibration: Calibration) -> dict[str, Any]:
    plain = calibration.to_plain()
    if plain["gallery"] is not None:
        vectors, labels = torch.from_numpy(plain["gallery"]["vectors"]).half(), torch.from_numpy(plain["gallery"]["labels"])
        plain["gallery"] |= {"vectors": vectors, "labels": labels}
    return plain


def _calibration_of(plain: dict[str, Any]) -> Calibration | None:
    held = plain.get("judgement")
    if held is None or "gallery" not in held:  # a file from before there were judgements like these
        return None
    gallery = held["gallery"] and held["gallery"] | {
        "vectors": held["gallery"]["vectors"].float().numpy(),
        "labels": held["gallery"]["labels"].numpy(),
    }
    return Calibration.from_plain(held | {"gallery": gallery})


def _calibration_flipped_of(plain: dict[str, Any], calibration: Calibration | None) -> Calibration | None:
    held = plain.get("judgement_mirrored")
    if held is None or calibration is None:
        return None
    return replace(Calibration.from_plain(held), gallery=calibration.gallery)


def _is_zip(path: Path) -> bool:
    return _start(path) == b"PK"


def _refuse_other_bytes(path: Path) -> None:
    """Raises CheckpointError for what torch has not written, and where bytes have changed since it was."""
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()  # torch does not look at the checksums that it writes
        if changed is not None:
            raise CheckpointError(f"{path}: is damaged: it does not hold what was written to it", hint="copy it anew")
    elif _start(path)[:1] != b"\x80":  # the first byte of a pickle, which is what torch once wrote
        raise CheckpointError(f"{path}: is not a checkpoint, or not a whole one", hint=_HINT)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)
