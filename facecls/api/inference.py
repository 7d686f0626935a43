"""The public API for inference: load a classifier; imports no more than that needs."""

from typing import Literal

from facecls import checkpoint
from facecls.api.arguments import RunPath, path_of
from facecls.device import resolve_inference_device
from facecls.evaluation.infer import flip_allowed
from facecls.inference.classifier import Classifier, Prediction
from facecls.progress import Reporter, reporter_of

__all__ = ["Classifier", "Prediction", "load"]


def load(
    run: RunPath,
    *,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None,
    unknown: bool = True,
    tta: Literal["none", "flip"] = "none",
    progress: Reporter | bool = False,
) -> Classifier:
    """The classifier in a run directory or a checkpoint file.

    run: the path, or what `train` returns, or an entry of what `runs` returns.
    device: auto, cpu, cuda, cuda:N or mps.
    precision: of matrix products and convolutions; auto: the fastest; None: that of training, if it was not bf16, else auto.
    unknown: whether images may be labelled `unknown`.
    tta: `flip` averages over each image and its mirror image, unless a flip changes the class.

    Raises CheckpointError if there is no readable checkpoint, DeviceError if this machine lacks the device or precision.
    """
    path = path_of(run)
    trained = checkpoint.read(path)
    target = resolve_inference_device(device, precision, trained.config.precision)
    mirrored = flip_allowed(tta == "flip", trained.config.data, reporter_of(progress))
    return Classifier(trained, target, unknown=unknown, mirrored=mirrored, source=path)
