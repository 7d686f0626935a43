"""Early stopping, a callback of the training loop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from facecls.config.schema import BestEpoch, Config
from facecls.run import EpochMetrics
from facecls.text import plural
from facecls.training.epochs import rank_key


@dataclass
class EarlyStopping:
    """Stops training after `patience` epochs without improvement at the full image size."""

    metric: BestEpoch
    patience: float  # epochs; infinity disables
    image_size: int  # the full one, pixels
    best: EpochMetrics | None = None
    stopped: str | None = None  # the reason

    def __call__(self, row: EpochMetrics) -> str | None:
        if self.best is None or rank_key(row, self.metric) > rank_key(self.best, self.metric):
            self.best = row
        exhausted = self.best.image_size == self.image_size and row.epoch - self.best.epoch >= self.patience
        self.stopped = f"no better {self.metric} in {plural(int(self.patience), 'epoch')}" if exhausted else None
        return self.stopped


def early_stopping(config: Config, rows: Sequence[EpochMetrics]) -> EarlyStopping:
    """The callback of a config, after the epochs that a resumed run has behind it."""
    patience = math.inf if config.train.patience is None else config.train.patience
    callback = EarlyStopping(config.train.best, patience, config.data.image_size)
    for row in rows:
        callback(row)
    return callback
