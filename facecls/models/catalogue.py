"""The registered models and face detectors, for `facecls models`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Column, Table

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.errors import InstallError
from facecls.faces.detect import DETECTORS
from facecls.models import MODELS, build_model, count_parameters, multiply_adds
from facecls.weights import WEIGHTS, locate_weights


@dataclass(frozen=True)
class ModelEntry:
    """A model and its size; `multiply_adds` are for one image."""

    name: str
    parameters: int
    multiply_adds: int
    description: str
    kind: str = "model"


@dataclass(frozen=True)
class DetectorEntry:
    """A face detector and its weights; `file` is None, and `error` says what to do, if the package with them is missing."""

    name: str
    weights: str
    licence: str
    source: str
    file: str | None
    error: str | None
    kind: str = "detector"


def list_detectors() -> list[DetectorEntry]:
    """All registered detectors; each has weights of its own name."""
    entries = []
    for name in DETECTORS:
        file, error, weights = None, None, WEIGHTS[name]
        try:
            file = str(locate_weights(name))
        except InstallError as missing:
            error = f"{missing}; {missing.hint}"
        entries.append(DetectorEntry(name, weights.name, weights.licence, weights.source, file, error))
    return entries


def list_models(model: ModelConfig, head: HeadConfig, *, image_size: int, classes: int) -> list[ModelEntry]:
    """All registered models, built with the other options of `model` on the meta device, which allocates nothing."""
    entries = []
    for name, builder in MODELS.items():
        with torch.device("meta"):
            built = build_model(model.model_copy(update={"name": name}), head, classes=classes, image_size=image_size)
        description = (builder.__doc__ or "").strip().split("\n")[0].rstrip(".")
        entries.append(ModelEntry(name, count_parameters(built), multiply_adds(built, image_size), description))
    return entries


def models_to_json(models: Sequence[ModelEntry], detectors: Sequence[DetectorEntry]) -> str:
    """Models and detectors as one JSON list."""
    return json.dumps([*map(asdict, models), *map(asdict, detectors)], indent=2)


def print_models(models: Sequence[ModelEntry], detectors: Sequence[DetectorEntry], *, image_size: int, classes: int) -> None:
    """Prints models and detectors as tables."""
    right = [Column(name, justify="right") for name in ("parameters", "multiply-adds")]
    table = Table("model", *right, "", box=None, pad_edge=False)
    for model in models:
        table.add_row(model.name, f"{model.parameters:,}", f"{model.multiply_adds / 1e6:,.1f} M", model.description)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\nat {image_size} x {image_size} pixels and {classes} classes")
    console.print("also every model of torchvision and timm: torchvision/NAME, timm/NAME")
    console.print("\nface detectors")
    for detector in detectors:
        where = detector.file or f"not found: {detector.error}"
        for line in (f"{detector.name}  {detector.weights}, {detector.licence} licence", f"  {detector.source}", f"  {where}"):
            console.print(line, markup=False, soft_wrap=True)
