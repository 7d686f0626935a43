"""The model registry: names and their builders. To add a model, write its module and add a line to MODELS.

A builder takes the config's `model` section and the image size S in pixels. It returns a backbone: an nn.Module from
normalised float (B, 3, S, S) to features (B, F), with F as its attribute `features`. A backbone that takes only one image
size has the attribute `fixed_size`. If parts of it can be frozen, its method `stages` returns them.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.errors import ModelError
from facecls.models.classifier import FaceClassifier, count_parameters, multiply_adds
from facecls.models.cnn import cnn
from facecls.models.heads import HEADS, build_head
from facecls.models.mlp import linear, mlp
from facecls.models.resnet import resnet18, resnet34
from facecls.text import name_list

__all__ = ["HEADS", "LIBRARIES", "MODELS", "Builder", "FaceClassifier", "build_model", "count_parameters", "multiply_adds"]

Builder = Callable[[ModelConfig, int], nn.Module]

MODELS: dict[str, Builder] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "cnn": cnn,
    "mlp": mlp,
    "linear": linear,
}

LIBRARIES = ("torchvision", "timm")  # every model of these is available as `LIBRARY/NAME`


def build_model(model: ModelConfig, head: HeadConfig, *, classes: int, image_size: int) -> FaceClassifier:
    """A new classifier for `classes` classes and images of `image_size` pixels, initialised by torch's global generator.

    To load weights, build it inside `torch.device("meta")` and load them with `assign=True`: that skips the initialisation.
    Raises ModelError for an unknown name or an image size that the model cannot take, InstallError if its library is missing.
    """
    with _SkipMetaInitialisation():
        backbone = _find(model.name)(model, image_size)
        features = backbone.features
        assert isinstance(features, int), f"the backbone of {model.name} has no int attribute `features`"
        return FaceClassifier(backbone, build_head(head, features, classes), model.dropout)


class _SkipMetaInitialisation(TorchFunctionMode):
    """Skips the random initialisation of tensors on the meta device: torch would import its compiler for it (nearly 2 s)."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def unknown_name_hint(name: str) -> str:
    """What to use instead of a model that is not in the registry; empty if it is, or is of one of the libraries."""
    library, slash, inner = name.partition("/")
    if name in MODELS or (slash and library in LIBRARIES):
        return ""
    if slash:
        nearest = [f"{near}/{inner}" for near in difflib.get_close_matches(library.lower(), LIBRARIES, n=1)]
    else:
        nearest = difflib.get_close_matches(name.lower(), MODELS, n=1)
    names = name_list([*MODELS, *(f"{library}/NAME" for library in LIBRARIES)])
    return f"did you mean `{nearest[0]}`?" if nearest else f"the models are {names}"


def _find(name: str) -> Builder:
    hint = unknown_name_hint(name)
    if hint:
        raise ModelError(f"model.name: `{name}` is not a model", hint=hint)
    if name in MODELS:
        return MODELS[name]
    from facecls.models import zoo  # imports torchvision, which takes longer than loading a resnet18

    library, _, inner = name.partition("/")
    return zoo.find(library, inner)
