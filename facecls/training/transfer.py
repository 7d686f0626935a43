"""Initial weights from ImageNet or from another checkpoint (transfer learning)."""

import importlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from facecls import checkpoint
from facecls.config.schema import ModelConfig
from facecls.device import require_torchvision
from facecls.errors import InstallError, ModelError
from facecls.models.classifier import FaceClassifier

Weights = dict[str, Tensor]


def load_pretrained(model: FaceClassifier, config: ModelConfig, classes: tuple[str, ...]) -> list[str]:
    """Loads the weights that `model.pretrained` names into a new model, and returns notes for the user.

    Raises ModelError if there are no such weights or they do not fit, InstallError if they cannot be downloaded or read, and
    CheckpointError for a file that is not a checkpoint.
    """
    source = config.pretrained
    if source == "none":
        return []
    if source == "imagenet":
        _load_backbone(model, _imagenet(config.name), f"`{config.name}` with ImageNet weights")
        return ["initial weights: ImageNet, with a new head"]
    other = checkpoint.read(Path(source))
    _load_backbone(model, _below("backbone.", other.weights), f"{source} (`{other.model.name}`)")
    head = _below("head.", other.weights)
    if other.classes == classes and _fits(model.head.state_dict(), head):
        model.head.load_state_dict(head)
        return [f"initial weights: {source}, including the head (same classes)"]
    return [f"initial weights: the backbone of {source}, with a new head (other classes or another head)"]


def _load_backbone(model: FaceClassifier, weights: Weights, source: str) -> None:
    # A ZooBackbone holds its network one level deeper; the weights of a classifier are left out.
    inner = getattr(model.backbone, "network", model.backbone)
    needed = inner.state_dict()
    weights = _below("network.", weights) or weights
    # A ZooBackbone saves buffers that timm leaves out of state dicts; they follow from the construction alone.
    own = {name: buffer for name, buffer in inner.named_buffers() if name in needed.keys() - weights.keys()}
    chosen = own | {name: tensor for name, tensor in weights.items() if name in needed}
    if not _fits(needed, chosen):
        if model.fixed_size is not None and needed.keys() == chosen.keys():
            raise ModelError(
                f"model.pretrained: {source} does not fit a model for images of {model.fixed_size} pixels",
                hint="set data.image_size to the size of the weights, mostly 224 for ImageNet",
            )
        raise ModelError(
            f"model.pretrained: {source} does not fit the model",
            hint="use the `model.name` and `model.stem` that the weights were trained with",
        )
    inner.load_state_dict(chosen)


def _imagenet(name: str) -> Weights:
    library, _, inner = name.rpartition("/")
    if library == "timm":
        return _fetched(
            name, lambda: importlib.import_module("timm").create_model(inner, pretrained=True, num_classes=0).state_dict()
        )
    models: Any = require_torchvision().models
    if inner not in models.list_models(module=models):
        raise ModelError(
            f"model.pretrained: there are no ImageNet weights for `{name}`",
            hint="`resnet18`, `torchvision/NAME` and `timm/NAME` have some",
        )
    url = models.get_model_weights(inner).DEFAULT.url
    # torch.hub uses a file in its cache, so that one can be put there on a machine without a network.
    return _fetched(
        name,
        lambda: torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True),
        Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2],
    )


def _fetched(name: str, fetch: Callable[[], Weights], file: Path | None = None) -> Weights:
    """What `fetch` returns; `file` is its path in torch's cache."""
    try:
        return fetch()
    # No network or a lost connection; another hash; a file that is not weights.
    except (OSError, HTTPException, RuntimeError, UnpicklingError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        if file is not None and file.exists():
            raise InstallError(
                f"model.pretrained: {file}: cannot be read: {reason}", hint="delete it, and it is downloaded again"
            ) from None
        by_hand = "" if file is None else f"put {file.name} into {file.parent} by hand, or "
        raise InstallError(
            f"model.pretrained: the ImageNet weights of `{name}` cannot be downloaded: {reason}",
            hint=f"{by_hand}train with model.pretrained=none",
        ) from None


def _below(prefix: str, weights: Weights) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _fits(needed: Weights, given: Weights) -> bool:
    return needed.keys() == given.keys() and all(needed[name].shape == given[name].shape for name in needed)
