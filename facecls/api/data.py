"""The public API for data: check a config and its data, suggest a config, draw synthetic faces."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecls.api.arguments import as_path
from facecls.api.process import unchanged_process
from facecls.check.check import CheckResult
from facecls.check.check import check_config as check
from facecls.check.suggest import suggest_config as yaml_of
from facecls.check.suggest import summarise_folder
from facecls.config.load import config_from
from facecls.config.schema import Config
from facecls.data.face_table import FaceCounts
from facecls.data.prepare import PrepareOptions
from facecls.data.prepare import prepare_faces as prepare
from facecls.data.python_data import LabelledImages
from facecls.errors import ImageError
from facecls.progress import Reporter, reporter_of
from facecls.synthetic.write import write_faces

__all__ = ["FaceCounts", "SuggestedConfig", "check_config", "prepare_faces", "suggest_config", "write_faces"]


@dataclass(frozen=True)
class SuggestedConfig:
    """A config that suits a folder of images, and what was seen of the folder."""

    yaml: str  # with the reasons as comments
    sampled: int  # images that were opened
    unreadable: tuple[ImageError, ...]  # those of them that cannot be read


def check_config(
    config: Mapping[str, Any] | Config | str | Path,
    data: LabelledImages | None = None,
    *,
    progress: Reporter | bool = False,
) -> CheckResult:
    """Checks config, data and model as `facecls check` does, and trains on one batch; changes nothing.

    config, data: as in `train`.

    `findings` lists the problems; `to_plain()` has everything as plain values. Raises ConfigError, DataError
    and other FaceclsErrors for what prevents the check.
    """
    reporter = reporter_of(progress)
    with as_path(data, reporter) as table:
        settings = config_from(config, {} if table is None else {"data.root": str(table.parent), "data.csv": str(table)})
        with unchanged_process(settings.threads):
            return check(settings, reporter)


def suggest_config(folder: str | Path) -> SuggestedConfig:
    """A config that suits a folder CLASS/file or {train,val,test}/CLASS/file, or a CSV file of path and label.

    Raises DataError if it holds no labelled images.
    """
    summary = summarise_folder(Path(folder))
    return SuggestedConfig(yaml_of(summary), summary.sampled, summary.unreadable)


def prepare_faces(
    source: str | Path,
    target: str | Path,
    *,
    size: int = 224,
    margin: float = 0.25,
    every_face: bool = False,
    rotate: bool = False,
    progress: Reporter | bool = False,
) -> FaceCounts:
    """Cuts the faces out of the images of a folder tree, as `facecls prepare` does, and lists them in `target`/faces.csv.

    size: side of the crops, pixels.
    margin: what is shown around the template's square, on each of its sides, as a share of its side.
    every_face: all faces of an image, not only the main one.
    rotate: turn images whose faces are sideways or inverted; else they get no crop.

    Images that are listed already are skipped. Returns the numbers of images and faces. Raises DataError and RunError for
    folders that cannot be used, InstallError without the extra `faces`.
    """
    return prepare(Path(source), Path(target), PrepareOptions(size, margin, every_face, rotate), reporter_of(progress))
