"""Backbones from torchvision and timm: their classification models without the classifier, randomly initialised.

Imported only for such a model, because importing either library takes seconds.
"""

import difflib
import functools
import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from facecls.config.schema import ModelConfig
from facecls.device import require_torchvision
from facecls.errors import InstallError, ModelError
from facecls.models.classifier import meta_forward

CLASSES = 1000  # outputs of the classifier, which is recognised by this number


class ZooBackbone(nn.Module):
    """A library's `network` without its classifier: normalised (B, 3, S, S) to features (B, F).

    It keeps the dropout that the library applies before the classifier.
    """

    def __init__(self, network: nn.Module, features: int, fixed_size: int | None) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.fixed_size = fixed_size

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features


def find(library: str, name: str) -> Callable[[ModelConfig, int], ZooBackbone]:
    """The builder of `library/name`, which raises ModelError for an unknown name, InstallError if timm is missing."""
    prepare = {"torchvision": _torchvision, "timm": _timm}[library]
    return lambda _model, image_size: _build(f"{library}/{name}", *prepare(name, image_size), image_size)


def _torchvision(name: str, image_size: int) -> tuple[Callable[[], nn.Module], bool]:
    """The constructor of a model, and whether it takes only one image size."""
    models = require_torchvision().models
    _check_name("torchvision", name, models.list_models(module=models))
    network_class = typing.get_type_hints(models.get_model_builder(name))["return"]
    accepted = inspect.signature(network_class).parameters
    size = {"image_size": image_size, "input_size": (image_size, image_size)}
    sized = {key: value for key, value in size.items() if key in accepted}
    # With auxiliary logits googlenet and inception_v3 would return more outputs in training. VGG initialises its weights by
    # default, the others warn if `init_weights` is not given.
    fixed = {key: value for key, value in (("aux_logits", False), ("init_weights", True)) if key in accepted}
    make = functools.partial(models.get_model, name, weights=None, num_classes=CLASSES, **fixed, **sized)
    return lambda: _without_classifier(make()), bool(sized)


def _timm(name: str, image_size: int) -> tuple[Callable[[], nn.Module], bool]:
    """As `_torchvision`, for timm, which constructs models without a classifier."""
    try:
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InstallError(
            f"model.name: `timm/{name}` needs timm, which is not installed",
            hint="install it with `pip install 'facecls[timm]'`",
        ) from error
    _check_name("timm", name, timm.list_models())
    sized = {"img_size": image_size} if timm.get_pretrained_cfg_value(name, "fixed_input_size") else {}
    return functools.partial(timm.create_model, name, pretrained=False, num_classes=0, **sized), bool(sized)


def _build(name: str, construct: Callable[[], nn.Module], fixed: bool, image_size: int) -> ZooBackbone:
    try:
        network = _construct(construct)
        _make_buffers_persistent(network)
        shape = meta_forward(network, image_size).shape
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = f": {str(error).splitlines()[0]}" if str(error) else ""
        raise ModelError(
            f"model.name: `{name}` cannot take images of {image_size} pixels{reason}",
            hint="most of these models take 224 pixels: try `--set data.image_size=224`",
        ) from error
    if len(shape) != 2:
        problem = f"model.name: `{name}` has features of shape {tuple(shape[1:])}, not a vector"
        raise ModelError(problem, hint="use another model")
    return ZooBackbone(network, shape[1], image_size if fixed else None)


def _construct(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except NotImplementedError:
        # Some models (torchvision's RegNets) compute their widths with tensors, which fails on the meta device.
        device = torch.get_default_device()
        with torch.device("cpu"):
            return make().to(device)


def _check_name(library: str, name: str, known: list[str]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name.lower(), known, n=1)
        hint = (
            f"did you mean `{library}/{nearest[0]}`?"
            if nearest
            else f"see the list of models in the documentation of {library}"
        )
        raise ModelError(f"model.name: `{library}/{name}` is not a model", hint=hint)


def _without_classifier(network: nn.Module) -> nn.Module:
    """`network` with its classifier, the last layer with CLASSES outputs, replaced by an identity."""
    outputs = {
        name: module.out_features if isinstance(module, nn.Linear) else module.out_channels
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    parent, _, child = [name for name, count in outputs.items() if count == CLASSES][-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def _make_buffers_persistent(network: nn.Module) -> None:
    # A model built on the meta device gets its buffers from the state dict, which lacks those that are not persistent.
    persistent = network.state_dict().keys()
    for path, buffer in list(network.named_buffers()):
        if path not in persistent:
            parent, _, child = path.rpartition(".")
            network.get_submodule(parent).register_buffer(child, buffer, persistent=True)
