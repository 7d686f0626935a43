"""The config's sections about data: images, faces in them, splits."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from facecls.config.registered import Registered
from facecls.config.section import Section

Balance = Literal["none", "sampler", "loss"]


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
    faces: Literal["image", "detect"] = Field(
        "image", description="image: each image is one face, whole; detect: the faces in it are found and aligned"
    )
    margin: float = Field(
        0.0, gt=-0.5, le=2, description="detect: shown around eyes, nose and mouth on each side, as a share of their square"
    )
    on_no_face: Literal["error", "skip", "whole"] = Field(
        "error", description="detect: an image without a face stops the run, is left out, or is used as a whole"
    )
    detector: Annotated[str, Registered("facecls.faces.detect:DETECTORS")] = Field("yunet", description="detect: the detector")
    detector_weights: Path | None = Field(
        None, description="detect: weight file of the detector; null: that of the installed package"
    )
    detect_sizes: tuple[Annotated[int, Field(ge=64, le=4096)], ...] = Field(
        (640, 1280), min_length=1, description="detect: longest sides of the copies that are searched, pixels"
    )
    min_score: float = Field(0.6, gt=0, lt=1, description="detect: lowest score of a face, in (0, 1)")
    flip_changes_class: bool = Field(False, description="true if mirroring changes the class; disables horizontal flips")

    @model_validator(mode="before")
    @classmethod
    def root_is_the_folder_of_the_csv(cls, values: Any) -> Any:
        if isinstance(values, dict) and "root" not in values and isinstance(values.get("csv"), str | Path):
            return {"root": Path(values["csv"]).parent, **values}
        return values

    @field_validator("detect_sizes", mode="wrap")
    @classmethod
    def detect_sizes_are_a_list(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:  # with the words of tuples
            raise ValueError(
                f"input should be a list of whole numbers from 64 to 4096, as in [640, 1280], got {value!r}"
            ) from None

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
