"""The models of the registry with what they cost."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Column, Table

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.models import MODELS, build_model, count_parameters, multiply_adds


@dataclass(frozen=True)
class Listed:
    """A model's size; `multiply_adds` are for one image."""

    name: str
    parameters: int
    multiply_adds: int
    description: str


def list_models(model: ModelConfig, head: HeadConfig, *, image_size: int, classes: int) -> list[Listed]:
    """Every model of the registry, built with the section's other options; nothing is allocated."""
    listed = []
    for name, builder in MODELS.items():
        with torch.device("meta"):
            built = build_model(model.model_copy(update={"name": name}), head, classes=classes, image_size=image_size)
        description = (builder.__doc__ or "").strip().split("\n")[0].rstrip(".")
        listed.append(Listed(name, count_parameters(built), multiply_adds(built, image_size), description))
    return listed


def models_to_json(listed: Sequence[Listed]) -> str:
    """The list as JSON."""
    return json.dumps([asdict(model) for model in listed], indent=2)


def print_models(listed: Sequence[Listed], *, image_size: int, classes: int) -> None:
    """The list as a table on stdout."""
    right = [Column(name, justify="right") for name in ("parameters", "multiply-adds")]
    table = Table("model", *right, "", box=None, pad_edge=False)
    for model in listed:
        table.add_row(model.name, f"{model.parameters:,}", f"{model.multiply_adds / 1e6:,.1f} M", model.description)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\nat {image_size} x {image_size} pixels and {classes} classes")
    console.print("and any of torchvision's and timm's: torchvision/NAME, timm/NAME")
