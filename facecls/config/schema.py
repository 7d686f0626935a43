"""The config: one frozen, typed section per builder, with every default and description."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from facecls.config.data import DataConfig, SplitConfig
from facecls.config.registered import Registered
from facecls.config.section import Section

__all__ = [
    "UNKNOWN",
    "AugmentConfig",
    "BestEpoch",
    "Config",
    "DataConfig",
    "HeadConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "Section",
    "SplitConfig",
    "Stem",
    "TrainConfig",
    "UnknownConfig",
    "flatten",
    "resolve_config",
]

UNKNOWN = "unknown"  # the label of an image that is rejected: it shows none of the classes
Stem = Literal["standard", "small"]
BestEpoch = Literal["val_accuracy", "val_macro_f1", "val_loss", "last"]


class AugmentConfig(Section):
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    rotate: float = Field(15.0, ge=0, le=180, description="largest rotation to either side, degrees")
    zoom: float = Field(0.15, ge=0, lt=1, description="largest change of scale, as a share")
    shift: float = Field(0.1, ge=0, lt=1, description="largest shift, as a share of the side")
    brightness: float = Field(0.3, ge=0, le=1, description="largest change of brightness, as a share")
    contrast: float = Field(0.3, ge=0, le=1, description="largest change of contrast, as a share")
    saturation: float = Field(0.4, ge=0, le=1, description="largest change of saturation, as a share")
    erase: float = Field(0.3, ge=0, le=1, description="probability of erasing a random rectangle")
    warmup: float = Field(0.6, ge=0, le=1, description="share of training over which all but flips ramp up from 0")
    mixup: float = Field(0.0, ge=0, description="alpha of mixup's beta distribution; 0 disables")
    cutmix: float = Field(0.0, ge=0, description="alpha of cutmix's beta distribution; 0 disables")


class ModelConfig(Section):
    name: str = Field("resnet18", description="a name from `facecls models`, `torchvision/NAME` or `timm/NAME`")
    stem: Stem = Field("standard", description="resnet18, resnet34: `small` suits small images")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout probability of the features before the head")
    pretrained: str = Field("none", description="initial weights: none | imagenet | path of a facecls checkpoint")
    freeze: Literal["none", "backbone"] | Annotated[int, Field(ge=1)] = Field(
        "none", description="layers that are not trained: none | backbone | number of stages from the input side"
    )

    @field_validator("freeze", mode="wrap")
    @classmethod
    def freeze_is_a_word_or_a_number(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(None if isinstance(value, bool) else value)
        except ValidationError:  # with two errors, one for the names and one for the number
            raise ValueError(f"input should be none, backbone or a whole number from 1, got {value!r}") from None

    @model_validator(mode="after")
    def freeze_needs_pretrained_weights(self) -> "ModelConfig":
        if self.freeze != "none" and self.pretrained == "none":
            raise ValueError("`freeze` needs weights from `pretrained`: random ones would stay random")
        return self


class HeadConfig(Section):
    name: Annotated[str, Registered("facecls.models.heads:HEADS")] = Field(
        "linear", description="linear layer, or cosine head with the margin of CosFace or ArcFace"
    )
    scale: float = Field(16.0, gt=0, description="cosface, arcface: factor from cosines to logits")
    margin: float = Field(
        0.2, ge=0, lt=1, description="cosface: subtracted from the true class's cosine; arcface: added to its angle, radians"
    )
    margin_warmup: float = Field(0.25, ge=0, le=1, description="share of training over which the margin ramps up from 0")


class LossConfig(Section):
    name: Annotated[str, Registered("facecls.training.losses:LOSSES")] = Field("cross_entropy", description="loss function")
    focal_gamma: float = Field(2.0, ge=0, description="focal: exponent of 1 - p, the weight of a class of probability p")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target probability spread over all classes")


class OptimizerConfig(Section):
    name: Literal["sgd", "adam", "adamw"] = Field("sgd", description="optimizer of torch.optim")
    lr: float = Field(0.1, gt=0, description="peak learning rate, reached at the end of the warm-up")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: momentum; adam, adamw: beta 1")
    nesterov: bool = Field(True, description="sgd: Nesterov momentum")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay; biases and normalisation scales are excluded")
    backbone_lr_factor: float = Field(1.0, gt=0, le=1, description="learning rate of the backbone as a share of the head's")

    @model_validator(mode="after")
    def nesterov_has_momentum(self) -> "OptimizerConfig":
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs `momentum` above 0")
        return self


class ScheduleConfig(Section):
    name: Annotated[str, Registered("facecls.training.schedule:SCHEDULES")] = Field(
        "onecycle", description="learning rate schedule"
    )
    warmup_epochs: float = Field(2.0, ge=0, description="epochs of learning rate warm-up, at most half of training")
    step_epochs: float = Field(10.0, gt=0, description="step: epochs between two decays")
    step_factor: float = Field(0.1, gt=0, lt=1, description="step: factor on the learning rate at each decay")


class TrainConfig(Section):
    epochs: int = Field(40, ge=1, description="passes over the training images")
    batch_size: int = Field(64, ge=1, description="images per micro-batch and process")
    accumulate: int = Field(1, ge=1, description="micro-batches whose gradients are accumulated per optimizer step")
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of the gradient; null disables clipping")
    ema: float = Field(0.998, ge=0, lt=1, description="decay per step of the averaged weights (EMA); 0 disables")
    sync_batchnorm: bool = Field(False, description="several CUDA devices: batch norm statistics over all of them")
    tracker: Annotated[str, Registered("facecls.training.trackers:TRACKERS")] = Field("none", description="also logs the run")
    start_size: int | None = Field(
        None, ge=16, description="progressive resizing: pixels at the start, data.image_size from two thirds on; null disables"
    )
    best: BestEpoch = Field(
        "val_accuracy", description="metric that selects the best epoch, ties are broken by val_loss; last: no selection"
    )
    patience: int | None = Field(None, ge=1, description="epochs without improvement before early stopping; null disables")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="time budget, minutes; schedules end with it, so results depend on the machine's speed; null disables",
    )
    save_minutes: float = Field(5.0, gt=0, description="longest time between two saves of last.pt, minutes")

    @model_validator(mode="after")
    def patience_needs_a_metric(self) -> "TrainConfig":
        if self.best == "last" and self.patience is not None:
            raise ValueError("`patience` needs a metric in `best`, not `last`")
        return self


class UnknownConfig(Section):
    enabled: bool = Field(True, description="whether `predict` may answer `unknown`")
    target_false_accept: float = Field(0.05, gt=0, lt=1, description="target false accept rate (FAR) on unknown people")
    score: Annotated[Any, Registered("facecls.open_set.scores:SCORES")] = Field(  # Any: its type is open_set's ScoreKind
        "centroid", description="open-set score that is compared with the rejection threshold"
    )
    strangers: Path | None = Field(
        None, description="images of unknown people that set the threshold; null: synthetic impostors"
    )


class Config(Section):
    """Everything that a run depends on."""

    seed: int = Field(0, ge=0, description="seed of all random draws of a run")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto | cpu | cuda | cuda:N | mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="type of matrix products and convolutions; auto: the fastest on this machine, measured once"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; null: at most the available cores")
    compile: bool = Field(False, description="torch.compile the model: slow to start, faster on some GPUs")
    data: DataConfig
    split: SplitConfig = SplitConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    unknown: UnknownConfig = UnknownConfig()

    @model_validator(mode="after")
    def start_size_is_at_most_image_size(self) -> "Config":
        if self.train.start_size is not None and self.train.start_size > self.data.image_size:
            raise ValueError(
                f"train.start_size ({self.train.start_size}) is larger than data.image_size ({self.data.image_size})"
            )
        return self


def resolve_config(config: Config) -> Config:
    """The config with absolute paths, and without flips if `data.flip_changes_class`."""
    sections: dict[str, Section] = {"data": _with_absolute_paths(config.data), "unknown": _with_absolute_paths(config.unknown)}
    if config.data.flip_changes_class:
        sections["augment"] = config.augment.model_copy(update={"flip": 0.0})
    return config.model_copy(update=sections)


def _with_absolute_paths(section: Section) -> Section:
    return section.model_copy(update={key: value.absolute() for key, value in section if isinstance(value, Path)})


def flatten(plain: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested plain values by dotted keys, as in `train.epochs`."""
    values: dict[str, Any] = {}
    for key, value in plain.items():
        values |= flatten(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return values
