"""The config: one frozen, typed section for each builder, with every default."""

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

UNKNOWN = "unknown"  # what is said of an image that shows none of the classes
Metric = Literal["val_accuracy", "val_macro_f1", "val_loss"]


class Section(BaseModel):
    """A frozen group of settings, read by one builder; keys that it does not have are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def true_is_not_one(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):
            kind = cls.model_fields[str(info.field_name)].annotation
            kinds = (kind, *get_args(kind))  # of `int | None` both
            if int in kinds:
                raise PydanticKnownError("int_type")
            if float in kinds:
                raise PydanticKnownError("float_type")
        return value


class DataConfig(Section):
    root: Path = Field(description="folder of faces: CLASS/file, or {train,val,test}/CLASS/file")
    image_size: int = Field(112, ge=16, le=1024, description="pixels, the side of the square that the model sees")
    crop: float = Field(1.0, gt=0, le=1, description="central share of the image's sides kept; 1.0 keeps all")
    fit: Literal["crop", "pad", "stretch"] = Field("crop", description="how an oblong becomes a square")
    on_bad_image: Literal["error", "skip"] = Field("error", description="what an unreadable image does")
    store: Literal["auto", "memory", "disk", "device", "stream"] = Field("auto", description="where decoded faces are kept")
    cache_dir: Path | None = Field(None, description="where `store: disk` keeps them; null: the user's cache folder")
    split_file: Path | None = Field(None, description="a CSV of path, class, split, such as a run's split.csv; null: none")
    balance: Literal["none", "sampler", "loss"] = Field(
        "none", description="sampler: draw as many faces of each class; loss: weigh rare classes more"
    )
    flip_changes_class: bool = Field(False, description="true where mirroring changes the class: no flips then")


class SplitConfig(Section):
    val: float = Field(0.2, ge=0, lt=1, description="share of each class held out to choose the best epoch")
    test: float = Field(0.0, ge=0, lt=1, description="share of each class that training never touches")
    seed: int = Field(0, ge=0, description="another seed, another split")
    group: Literal["near_duplicates", "name", "none"] = Field(
        "near_duplicates", description="what images that a split does not part have in common"
    )
    pattern: str | None = Field(None, description="group: name: regular expression that finds a group in a file name")
    by_name: dict[Literal["val", "test"], str] = Field({}, description="regular expressions that find a part's file names")
    folds: int | None = Field(None, ge=2, description="so many parts of equal size, one of which is val; null: none")
    fold: int = Field(0, ge=0, description="folds: the one that is val, counted from 0")

    @field_validator("pattern")
    @classmethod
    def pattern_is_one(cls, value: str | None) -> str | None:
        return value if value is None else _regular_expression(value)

    @field_validator("by_name")
    @classmethod
    def names_are_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        return {split: _regular_expression(pattern) for split, pattern in value.items()}

    @model_validator(mode="after")
    def groups_by_name_have_a_pattern(self) -> "SplitConfig":
        if (self.group == "name") != (self.pattern is not None):
            raise ValueError("`group: name` and `pattern` go together")
        return self

    @model_validator(mode="after")
    def the_fold_is_one_of_the_folds(self) -> "SplitConfig":
        if self.folds is None and self.fold > 0:
            raise ValueError(f"fold {self.fold} needs `folds`, the number of parts")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is none of {self.folds}, which are counted from 0")
        if self.folds is not None and "val" in self.by_name:
            raise ValueError("`folds` and `by_name.val` both say what val is, leave one out")
        return self

    @model_validator(mode="after")
    def leaves_something_to_train_on(self) -> "SplitConfig":
        if self.val + self.test >= 1:
            raise ValueError(f"val and test together take {self.val + self.test:g} of the images, none is left to train on")
        return self


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


class AugmentConfig(Section):
    flip: float = Field(0.5, ge=0, le=1, description="chance of mirroring a face")
    rotate: float = Field(15.0, ge=0, le=180, description="largest turn to either side, degrees")
    zoom: float = Field(0.15, ge=0, lt=1, description="largest change of size, as a share")
    shift: float = Field(0.1, ge=0, lt=1, description="largest shift, as a share of the side")
    brightness: float = Field(0.3, ge=0, le=1, description="largest change of brightness, as a share")
    contrast: float = Field(0.3, ge=0, le=1, description="largest change of contrast, as a share")
    saturation: float = Field(0.4, ge=0, le=1, description="largest change of saturation, as a share")
    erase: float = Field(0.3, ge=0, le=1, description="chance of a rectangle being painted over")
    warmup: float = Field(0.6, ge=0, le=1, description="share of training over which all but flips grow from nothing")
    mixup: float = Field(0.0, ge=0, description="alpha of the beta distribution of mixup; 0 switches it off")
    cutmix: float = Field(0.0, ge=0, description="alpha of the beta distribution of cutmix; 0 switches it off")


class ModelConfig(Section):
    name: str = Field("resnet18", description="a name from `facecls models`")
    stem: Literal["standard", "small"] = Field("standard", description="resnet18: `small` keeps small images large")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features dropped before the head while training")
    pretrained: str = Field("none", description="none | imagenet | a facecls checkpoint: the weights to begin with")
    freeze: Literal["none", "backbone"] | Annotated[int, Field(ge=1)] = Field(
        "none", description="what training leaves as it is: none | backbone | a number of stages from the pixels' end"
    )

    @field_validator("freeze", mode="wrap")
    @classmethod
    def freeze_is_a_word_or_a_number(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(None if isinstance(value, bool) else value)
        except ValidationError:  # two of them, one for the words and one for the number
            raise ValueError(f"input should be none, backbone or a whole number from 1, got {value!r}") from None

    @model_validator(mode="after")
    def freezes_only_what_has_been_learned(self) -> "ModelConfig":
        if self.freeze != "none" and self.pretrained == "none":
            raise ValueError("freeze keeps weights as they are, so it needs pretrained ones")
        return self


class HeadConfig(Section):
    name: Literal["linear", "cosface", "arcface"] = Field("linear", description="how features become scores")
    scale: float = Field(16.0, gt=0, description="cosface, arcface: what cosines are multiplied by")
    margin: float = Field(0.2, ge=0, lt=1, description="cosface: off the true class's cosine; arcface: radians on its angle")
    margin_warmup: float = Field(0.25, ge=0, le=1, description="share of training over which the margin grows from 0")


class LossConfig(Section):
    name: Literal["cross_entropy", "focal"] = Field("cross_entropy", description="loss function")
    focal_gamma: float = Field(2.0, ge=0, description="focal: exponent of (1 - p), the weight of a class")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of probability spread over all classes")


class OptimizerConfig(Section):
    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0, description="peak learning rate, reached when the warm-up ends")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: momentum; adam, adamw: beta 1")
    nesterov: bool = Field(True, description="sgd: look ahead along the momentum")
    weight_decay: float = Field(5e-4, ge=0, description="not applied to biases and to the scales of norms")
    backbone_lr_factor: float = Field(1.0, gt=0, le=1, description="what the backbone's rate is of the head's")

    @model_validator(mode="after")
    def nesterov_has_momentum(self) -> "OptimizerConfig":
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class ScheduleConfig(Section):
    name: Literal["onecycle", "cosine", "step", "constant"] = "onecycle"
    warmup_epochs: float = Field(2.0, ge=0, description="epochs over which the learning rate rises to its peak")
    step_epochs: float = Field(10.0, gt=0, description="step: epochs between two falls")
    step_factor: float = Field(0.1, gt=0, lt=1, description="step: what the rate is multiplied by at each fall")


class TrainConfig(Section):
    epochs: int = Field(40, ge=1)
    batch_size: int = Field(64, ge=1, description="about so many faces in one piece of a step: all steps have as many")
    accumulate: int = Field(1, ge=1, description="pieces whose gradients are added up into one step")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; null for no limit")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are scored; 0 for none")
    sync_batchnorm: bool = Field(False, description="many CUDA devices: batch norm over all of them")
    tensorboard: bool = Field(False, description="also write scalars and a grid of augmented faces for TensorBoard")
    start_size: int | None = Field(
        None, ge=16, description="pixels in the first epochs, growing to data.image_size by two thirds"
    )
    best: Metric = Field(
        "val_accuracy", description="the figure by which the best epoch is kept; of equal ones the lower val_loss"
    )
    patience: int | None = Field(None, ge=1, description="epochs without a better one before training ends; null: all")
    max_minutes: float | None = Field(None, gt=0, description="minutes that training may take; fewer epochs fit in, if need be")
    save_minutes: float = Field(5.0, gt=0, description="longest time between two writings of last.pt")


class UnknownConfig(Section):
    enabled: bool = Field(True, description="whether `predict` may answer `unknown`")
    target_false_accept: float = Field(0.05, gt=0, lt=1, description="share of strangers that may be given a name")
    score: Literal["centroid", "neighbours", "probability", "energy"] = Field(
        "centroid", description="what tells the known from strangers"
    )
    strangers: Path | None = Field(None, description="folder of strangers' images to set the threshold by; null: none")


class Config(Section):
    """Everything that a run depends on."""

    seed: int = Field(0, ge=0, description="all chance in a run follows from it")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto | cpu | cuda | cuda:N | mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 where the processor has it")
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
    def starts_no_larger_than_it_ends(self) -> "Config":
        if self.train.start_size is not None and self.train.start_size > self.data.image_size:
            raise ValueError(
                f"train.start_size ({self.train.start_size}) is larger than data.image_size ({self.data.image_size})"
            )
        return self


def resolve_config(config: Config) -> Config:
    """The config with what follows from it: full paths, and no mirroring where that would change a face's class."""
    sections: dict[str, Section] = {"data": _with_full_paths(config.data), "unknown": _with_full_paths(config.unknown)}
    if config.data.flip_changes_class:
        sections["augment"] = config.augment.model_copy(update={"flip": 0.0})
    return config.model_copy(update=sections)


def _with_full_paths(section: Section) -> Section:
    return section.model_copy(update={key: value.absolute() for key, value in section if isinstance(value, Path)})


def flat(plain: dict[str, Any], above: str = "") -> dict[str, Any]:
    """A config's plain values by their dotted keys."""
    values: dict[str, Any] = {}
    for key, value in plain.items():
        values |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return values


def json_schema() -> dict[str, Any]:
    """The JSON schema of a config file, which editors check and complete with."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
