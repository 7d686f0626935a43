"""The registered models with their parameters and multiply-adds, for `facecls models`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Column, Table

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.models import MODELS, build_model, count_parameters, multiply_adds


@dataclass(frozen=True)
class ModelEntry:
    """A model and its size; `multiply_adds` are for one image."""

    name: str
    parameters: int
    multiply_adds: int
    description: str


def list_models(model: ModelConfig, head: HeadConfig, *, image_size: int, classes: int) -> list[ModelEntry]:
    """All registered models, built with the other options of `model` on the meta device, which allocates nothing."""
    entries = []
    for name, builder in MODELS.items():
        with torch.device("meta"):
            built = build_model(model.model_copy(update={"name": name}), head, classes=classes, image_size=image_size)
        description = (builder.__doc__ or "").strip().split("\n")[0].rstrip(".")
        entries.append(ModelEntry(name, count_parameters(built), multiply_adds(built, image_size), description))
    return entries


def models_to_json(entries: Sequence[ModelEntry]) -> str:
    """The models as a JSON list."""
    return json.dumps([asdict(model) for model in entries], indent=2)


def print_models(entries: Sequence[ModelEntry], *, image_size: int, classes: int) -> None:
    """Prints the models as a table."""
    right = [Column(name, justify="right") for name in ("parameters", "multiply-adds")]
    table = Table("model", *right, "", box=None, pad_edge=False)
    for model in entries:
        table.add_row(model.name, f"{model.parameters:,}", f"{model.multiply_adds / 1e6:,.1f} M", model.description)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\nat {image_size} x {image_size} pixels and {classes} classes")
    console.print("also every model of torchvision and timm: torchvision/NAME, timm/NAME")
