"""The config: one frozen, typed section per builder, with every default and description."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from facecls.config.registered import Registered

UNKNOWN = "unknown"  # the label of an image that is rejected: it shows none of the classes
Balance = Literal["none", "sampler", "loss"]
Stem = Literal["standard", "small"]
BestEpoch = Literal["val_accuracy", "val_macro_f1", "val_loss", "last"]


class Section(BaseModel):
    """A frozen group of settings, read by one builder; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def check_input(cls, value: Any, info: ValidationInfo) -> Any:
        """Rejects true and false as numbers (pydantic takes them for 1 and 0) and names that are not registered."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool):
            kinds = (field.annotation, *get_args(field.annotation))  # of `int | None` both
            if int in kinds:
                raise PydanticKnownError("int_type")
            if float in kinds:
                raise PydanticKnownError("float_type")
        for marker in field.metadata:
            if isinstance(marker, Registered) and value != field.default:
                marker.check(value)
        return value


class DataConfig(Section):
    root: Path = Field(
        description="folder of images: CLASS/file, or {train,val,test}/CLASS/file; relative to the working directory"
    )
    csv: Path | None = Field(
        None,
        description="CSV file of path, label and, if given, split, group instead of class folders; its own path is relative to "
        "the working directory, those in it to root (default: its folder)",
    )
    subfolders: Literal["error", "pool"] = Field(
        "error",
        description="if every class folder holds only folders: an error, or (pool) all images below it are of its class",
    )
    image_size: int = Field(112, ge=16, le=1024, description="side of the square model input, pixels")
    crop: float = Field(1.0, gt=0, le=1, description="share of each side that the central crop keeps, in (0, 1]")
    fit: Literal["crop", "pad", "stretch"] = Field("crop", description="how a non-square image is made square")
    on_bad_image: Literal["error", "skip"] = Field("error", description="an unreadable image stops the run or is left out")
    store: Literal["auto", "memory", "disk", "device", "stream"] = Field(
        "auto", description="where decoded images are kept; stream: decoded for every use; auto: the fastest that fits"
    )
    cache_dir: Path | None = Field(None, description="directory of `store: disk`; null: the user's cache directory")
    split_file: Path | None = Field(None, description="CSV file of path, class, split, such as a run's split.csv; null: none")
    balance: Balance | dict[str, Annotated[float, Field(gt=0)]] = Field(
        "none",
        description="class imbalance: sampler draws all classes equally often, loss weights rare classes more; "
        "or the loss weights of classes, 1 for the others: {ada: 2.0}",
    )
    flip_changes_class: bool = Field(False, description="true if mirroring changes the class; disables horizontal flips")

    @model_validator(mode="before")
    @classmethod
    def root_is_the_folder_of_the_csv(cls, values: Any) -> Any:
        if isinstance(values, dict) and "root" not in values and isinstance(values.get("csv"), str | Path):
            return {"root": Path(values["csv"]).parent, **values}
        return values

    @field_validator("balance", mode="wrap")
    @classmethod
    def balance_is_a_word_or_weights(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, dict):  # a class may be named by a number, which YAML reads as one
            value = {str(key) if type(key) is int else key: weight for key, weight in value.items()}
        try:
            return validate(value)
        except ValidationError:  # with an error for each alternative
            raise ValueError(f"input should be none, sampler, loss or weights above 0 by class, got {value!r}") from None


class SplitConfig(Section):
    val: float = Field(0.2, ge=0, lt=1, description="share of each class held out for validation (choice of the best epoch)")
    test: float = Field(0.0, ge=0, lt=1, description="share of each class held out for testing")
    seed: int = Field(0, ge=0, description="seed of the split")
    group: Literal["near_duplicates", "name", "none"] = Field(
        "near_duplicates", description="images kept in one split: near-duplicates, or those of equal match of `pattern` (name)"
    )
    pattern: str | None = Field(None, description="group: name: regular expression that finds the group in a file name")
    by_name: dict[Literal["val", "test"], str] = Field({}, description="regular expressions of the splits' file names")
    folds: int | None = Field(None, ge=2, description="number of cross-validation folds; null disables")
    fold: int = Field(0, ge=0, description="fold that is the val split, from 0 to folds - 1")

    @field_validator("pattern", "by_name")
    @classmethod
    def patterns_compile(cls, value: Any) -> Any:
        try:
            for pattern in value.values() if isinstance(value, dict) else [value or ""]:
                re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def keys_are_consistent(self) -> "SplitConfig":
        if (self.group == "name") != (self.pattern is not None):
            raise ValueError("`group: name` and `pattern` need each other")
        if self.folds is None and self.fold > 0:
            raise ValueError(f"`fold: {self.fold}` needs `folds`, the number of folds")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"`fold: {self.fold}` must be less than `folds: {self.folds}`, they are counted from 0")
        if self.folds is not None and "val" in self.by_name:
            raise ValueError("`folds` and `by_name.val` both define the val split, remove one")
        if self.val + self.test >= 1:
            raise ValueError(f"val and test together take {self.val + self.test:g} of the images, none is left to train on")
        return self


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
