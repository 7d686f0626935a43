"""Backbones from torchvision and timm: their classification models without the classifier, randomly initialised.

Imported only for such a model, because importing either library takes seconds.
"""

import difflib
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

CLASSES = 1000  # outputs of the classifier, by which it is found


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
    build = {"torchvision": _torchvision, "timm": _timm}[library]
    return lambda _model, image_size: build(name, image_size)


def _torchvision(name: str, image_size: int) -> ZooBackbone:
    models = require_torchvision().models
    _check_name("torchvision", name, models.list_models(module=models))
    network_class = typing.get_type_hints(models.get_model_builder(name))["return"]
    accepted = inspect.signature(network_class).parameters
    arguments: dict[str, Any] = {}
    if "aux_logits" in accepted:
        arguments["aux_logits"] = False  # googlenet and inception_v3 would return more outputs in training
    if "init_weights" in accepted:
        arguments["init_weights"] = True  # the default of VGG; the others warn if it is not given
    size = {"image_size": image_size, "input_size": (image_size, image_size)}
    sized = {key: value for key, value in size.items() if key in accepted}
    try:
        network = _construct(lambda: models.get_model(name, weights=None, num_classes=CLASSES, **arguments, **sized))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _wrong_size(f"torchvision/{name}", image_size, error) from error
    _remove_classifier(network)
    return _backbone(f"torchvision/{name}", network, image_size, fixed=bool(sized))


def _timm(name: str, image_size: int) -> ZooBackbone:
    try:
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InstallError(
            f"model.name: `timm/{name}` needs timm, which is not installed",
            hint="install it with `pip install 'facecls[timm]'`",
        ) from error
    _check_name("timm", name, timm.list_models())
    sized = {"img_size": image_size} if timm.get_pretrained_cfg_value(name, "fixed_input_size") else {}
    try:
        network = _construct(lambda: timm.create_model(name, pretrained=False, num_classes=0, **sized))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _wrong_size(f"timm/{name}", image_size, error) from error
    return _backbone(f"timm/{name}", network, image_size, fixed=bool(sized))


def _construct(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except NotImplementedError:
        # Some models (torchvision's RegNets) compute their widths with tensors, which fails on the meta device.
        device = torch.get_default_device()
        with torch.device("cpu"):
            return make().to(device)


def _check_name(library: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    raise ModelError(
        f"model.name: `{library}/{name}` is not a model",
        hint=f"did you mean `{library}/{nearest[0]}`?"
        if nearest
        else f"see the list of models in the documentation of {library}",
    )


def _remove_classifier(network: nn.Module) -> None:
    """Replaces the classifier, the last layer with CLASSES outputs, by an identity."""
    last = ""
    for name, module in network.named_modules():
        if (isinstance(module, nn.Linear) and module.out_features == CLASSES) or (
            isinstance(module, nn.Conv2d) and module.out_channels == CLASSES
        ):
            last = name
    assert last, f"{type(network).__name__} has no layer with {CLASSES} outputs"
    parent, _, child = last.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())


def _backbone(name: str, network: nn.Module, image_size: int, *, fixed: bool) -> ZooBackbone:
    _make_buffers_persistent(network)
    try:
        shape = meta_forward(network, image_size).shape
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _wrong_size(name, image_size, error) from error
    if len(shape) != 2:
        raise ModelError(
            f"model.name: `{name}` has features of shape {tuple(shape[1:])}, not a vector", hint="use another model"
        )
    return ZooBackbone(network, shape[1], image_size if fixed else None)


def _make_buffers_persistent(network: nn.Module) -> None:
    # A model built on the meta device gets its buffers from the state dict, which lacks those that are not persistent.
    persistent = network.state_dict().keys()
    for path, buffer in list(network.named_buffers()):
        if path not in persistent:
            parent, _, child = path.rpartition(".")
            network.get_submodule(parent).register_buffer(child, buffer, persistent=True)


def _wrong_size(name: str, image_size: int, error: Exception) -> ModelError:
    reason = f": {str(error).splitlines()[0]}" if str(error) else ""
    return ModelError(
        f"model.name: `{name}` cannot take images of {image_size} pixels{reason}",
        hint="most of these models take 224 pixels: try `--set data.image_size=224`",
    )
