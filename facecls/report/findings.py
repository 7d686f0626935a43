"""What an audit of a run's data says, for its page."""

from dataclasses import dataclass

from facecls.config import DataConfig
from facecls.data.audit import audit
from facecls.data.finding import Item, Pictures
from facecls.data.parts import find_parts
from facecls.errors import DataError
from facecls.progress import Progress
from facecls.training.checkpoint import Checkpoint

_SHOWN = 3  # examples of a finding
_OF_AN_ITEM = 4  # pictures that one of them names


@dataclass(frozen=True)
class Told:
    """A finding as the page tells it."""

    kind: str
    grave: bool
    message: str
    fix: str
    examples: tuple[str, ...]  # pictures below the data's root, or names of classes
    more: int


def findings(checkpoint: Checkpoint, data: DataConfig, progress: Progress) -> list[Told] | None:
    """What is wrong with the data that a run was trained on; None where that data is no longer there."""
    data = data.model_copy(update={"on_bad_image": "skip"})  # as scoring does
    try:
        found = find_parts(data, checkpoint.config.split, progress.bar)
    except DataError:
        return None
    audited = audit(found, data, progress.bar, data.cache_dir)
    pictures = audited.pictures
    return [
        Told(
            finding.kind,
            finding.grave,
            finding.message,
            finding.fix,
            tuple(_words(pictures, item) for item in finding.items[:_SHOWN]),
            max(0, len(finding.items) - _SHOWN),
        )
        for finding in audited.findings
    ]


def _words(pictures: Pictures, item: Item) -> str:
    paths = [pictures.paths[number].removeprefix(f"{pictures.root}/") for number in item.pictures[:_OF_AN_ITEM]]
    return ", ".join([*paths, item.note] if item.note else paths)
