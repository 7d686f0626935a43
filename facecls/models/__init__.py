"""The registry: a model's name to what builds it; to add a model, write a file and add a line to MODELS.

A builder takes the config's `model` section and the side of the square in pixels. It gives a backbone: an nn.Module from
normalised float (B, 3, S, S) to features (B, F), with F as its attribute `features`; a backbone that takes images of one
size only says which as `fixed_size`.
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
from facecls.models.heads import HEADS, Head, build_head
from facecls.models.mlp import linear, mlp
from facecls.models.resnet import resnet18, resnet34

__all__ = [
    "HEADS",
    "LIBRARIES",
    "MODELS",
    "Builder",
    "FaceClassifier",
    "Head",
    "build_head",
    "build_model",
    "count_parameters",
    "multiply_adds",
]

Builder = Callable[[ModelConfig, int], nn.Module]

MODELS: dict[str, Builder] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "cnn": cnn,
    "mlp": mlp,
    "linear": linear,
}

LIBRARIES = ("torchvision", "timm")  # `torchvision/NAME` and `timm/NAME` are models of theirs


def build_model(model: ModelConfig, head: HeadConfig, *, classes: int, image_size: int) -> FaceClassifier:
    """A fresh classifier for `classes` classes and images of `image_size` pixels; global chance draws its weights.

    Where weights will be loaded anyway, build it inside `torch.device("meta")` and load them with `assign=True`: that skips
    the drawing. Raises ModelError for a name that nobody knows or an image size that the model cannot take, InstallError
    where its library is missing.
    """
    with _DrawNothingWithoutMemory():
        backbone = _find(model.name)(model, image_size)
        features = backbone.features
        assert isinstance(features, int), f"the backbone of {model.name} does not say how many features it gives"
        return FaceClassifier(backbone, build_head(head, features, classes), model.dropout)


class _DrawNothingWithoutMemory(TorchFunctionMode):
    """Skips drawing weights for tensors on the meta device: torch's own skipping imports its compiler, nearly 2 s."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _find(name: str) -> Builder:
    if name in MODELS:
        return MODELS[name]
    library, slash, inner = name.partition("/")
    if slash and library in LIBRARIES:
        # Imported here because torchvision alone takes longer to import than a resnet18 takes to load.
        from facecls.models import zoo

        return zoo.find(library, inner)
    if slash:
        nearest = [f"{near}/{inner}" for near in difflib.get_close_matches(library.lower(), LIBRARIES, n=1)]
    else:
        nearest = difflib.get_close_matches(name.lower(), MODELS, n=1)
    everything = ", ".join(f"`{known}`" for known in MODELS)
    raise ModelError(
        f"model.name: `{name}` is not a model",
        hint=f"did you mean `{nearest[0]}`?"
        if nearest
        else f"the models are {everything}, and `torchvision/NAME` and `timm/NAME` for theirs",
    )
