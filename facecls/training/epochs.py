"""Orders the epochs of a training, and prints their metrics."""

import math

from facecls.config.schema import BestEpoch
from facecls.run import EpochMetrics


def rank_key(row: EpochMetrics, metric: BestEpoch) -> tuple[int, float, float]:
    """Orders epochs, the best last: by image size, then `train.best`, then val_loss; NaN is the worst."""
    names = ("epoch" if metric == "last" else metric, "val_loss")
    values = (-row.val_loss if name == "val_loss" else float(getattr(row, name)) for name in names)
    first, loss = (-math.inf if math.isnan(value) else value for value in values)
    return row.image_size, first, loss


def epoch_line(row: EpochMetrics, label: str, is_best: bool) -> str:
    """The metrics of an epoch, which `label` names; without a time budget at most 100 columns."""
    return (
        f"epoch {label}  lr {row.lr:.4f}  loss {row.train_loss:.3f}  "
        f"val loss {row.val_loss:.3f}  acc {row.val_accuracy:.1%}  F1 {row.val_macro_f1:.1%}  "
        f"{row.images_per_second:.0f} img/s  {row.seconds:.0f}s" + ("  best" if is_best else "")
    )
