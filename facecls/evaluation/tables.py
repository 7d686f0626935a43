"""Evaluations and cross-validations as printed tables and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from facecls.evaluation.console import UNBOUNDED, console
from facecls.evaluation.cross_validation import METRICS, CrossValidation
from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.metrics import ConfusedPair, Metrics
from facecls.evaluation.subgroups import SubgroupResult
from facecls.files import write_atomic
from facecls.open_set.scores import SCORES
from facecls.text import csv_line, plural, printable

_CONFUSION_CLASSES = 12  # largest number of classes for which the confusion matrix is printed
_CONFUSION_HEAD = "true \\ predicted"
_SPLITS = ("train", "val", "test")


def evaluation_to_json(evaluation: Evaluation) -> str:
    """An evaluation as a JSON object; non-ASCII characters are escaped, because file names may hold invalid UTF-8."""
    return json.dumps(evaluation.to_plain(), indent=2)


def print_evaluation(evaluation: Evaluation) -> None:
    """An evaluation as tables on stdout."""
    closed_set, open_set, out = evaluation.closed_set, evaluation.open_set, console()
    metrics = closed_set.metrics
    speed = f"{evaluation.seconds:.1f} s, {evaluation.images_per_second:.0f} images/s"
    name = evaluation.split.name
    out.print(f"{name}{' split' if name in _SPLITS else ''}: {plural(metrics.n, 'image')} in {speed}")
    out.print(_headline(evaluation))
    if evaluation.fitted is not None:
        out.print(f"* optimistic: {evaluation.fitted}")
    tables = [_per_class(metrics)]
    if len(metrics.classes) <= _CONFUSION_CLASSES:
        tables.append(_confusion(metrics, out))
    if closed_set.pairs:
        tables.append(_pairs(closed_set.pairs))
    for table in tables:
        out.print()
        out.print(table)
    if evaluation.subgroups is not None:
        out.print()
        _print_subgroups(evaluation.subgroups, out)
    if open_set.threshold is not None or open_set.rates is not None:
        out.print()
        _print_open_set(evaluation, out)


def _table(*columns: str | Column, header: bool = True) -> Table:
    return Table(*columns, box=None, pad_edge=False, show_header=header)


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.1%} to {high:.1%}"


def _mark(evaluation: Evaluation) -> str:
    return "" if evaluation.fitted is None else "*"


def _headline(evaluation: Evaluation) -> Table:
    closed_set, metrics, mark = evaluation.closed_set, evaluation.closed_set.metrics, _mark(evaluation)
    table = _table("", *_right(""), "", header=False)
    for name, label in METRICS.items():
        table.add_row(label, f"{getattr(metrics, name):.2%}{mark}", f"95 % CI {_interval(closed_set.intervals[name])}")
    table.add_row("weighted F1", f"{metrics.weighted_f1:.2%}{mark}", "")
    for k, share in metrics.top_k.items():
        table.add_row(f"top-{k} accuracy", f"{share:.2%}{mark}", "")
    table.add_row("ROC AUC", "-" if closed_set.roc_auc is None else f"{closed_set.roc_auc:.4f}{mark}", "one-vs-rest")
    table.add_row("loss", f"{metrics.loss:.4f}{mark}", "cross entropy before calibration")
    for label, (before, after) in (("ECE", closed_set.ece), ("Brier score", closed_set.brier)):
        table.add_row(label, f"{after:.4f}{mark}", f"{before:.4f} before calibration")
    return table


def _per_class(metrics: Metrics) -> Table:
    table = _table("class", *_right("precision", "recall", "F1", "images"))
    for each in metrics.per_class:
        table.add_row(printable(each.name), f"{each.precision:.1%}", f"{each.recall:.1%}", f"{each.f1:.1%}", str(each.support))
    return table


def _confusion(metrics: Metrics, out: Console) -> Table:
    """The confusion matrix; its columns are headed by class names, or by numbers if the names do not fit the out."""
    names = [printable(name) for name in metrics.classes]
    numbers = [str(number) for number in range(1, len(names) + 1)]
    cells = [[str(count) if count else "." for count in row] for row in metrics.confusion]
    named = _table(_CONFUSION_HEAD, *_right(*names))
    fixed = [Column(number, justify="right", no_wrap=True) for number in ("", *numbers)]  # only the names may be folded
    numbered = _table(fixed[0], Column(_CONFUSION_HEAD, overflow="fold"), *fixed[1:])
    for number, name, row in zip(numbers, names, cells, strict=True):
        named.add_row(name, *row)
        numbered.add_row(number, name, *row)
    unbounded = out.options.update_width(UNBOUNDED)
    return named if out.measure(named, options=unbounded).maximum <= out.width else numbered


def _pairs(pairs: Sequence[ConfusedPair]) -> Table:
    table = _table("true", "predicted", *_right("images", "of true class"))
    for pair in pairs:
        table.add_row(printable(pair.true), printable(pair.predicted), str(pair.count), f"{pair.share:.1%}")
    return table


def _print_subgroups(subgroups: SubgroupResult, out: Console) -> None:
    table = _table("group", *_right("images", "accuracy"), "95 % CI")
    for each in subgroups.groups:
        table.add_row(printable(each.group), str(each.n), f"{each.accuracy:.1%}", _interval(each.interval))
    out.print(table)
    if subgroups.gap > 0:
        out.print(f"gap: {subgroups.gap:.1%} between {printable(subgroups.best)} and {printable(subgroups.worst)}")


def _print_open_set(evaluation: Evaluation, out: Console) -> None:
    open_set, threshold, mark = evaluation.open_set, evaluation.open_set.threshold, _mark(evaluation)
    if threshold is not None:
        out.print(
            f"rejection threshold {threshold.value:.3g} ({SCORES[threshold.score]}): "
            f"TAR {open_set.true_accept_rate:.1%}{mark}, DIR {open_set.identification_rate:.1%}{mark}"
        )
    if open_set.false_accept_interval is not None:
        interval, predicted = open_set.false_accept_interval, open_set.false_accept_prediction_interval
        far = f"FAR {open_set.false_accept_rate:.1%}{'*' * evaluation.impostors_set_threshold}"
        line = f"{plural(open_set.impostors, 'impostor')}: {far} (95 % CI {_interval(interval)})"
        out.print(line if predicted is None else f"{line}, predicted {_interval(predicted)} when the threshold was set")
    if evaluation.impostors_set_threshold:
        out.print("* at its target by construction: the threshold was set on these impostors")
    if open_set.rates is None:
        return
    table = _table(*_right("target FAR", "DIR", "threshold"))
    for point in open_set.rates.points:
        table.add_row(f"{point.target_false_accept:.0%}", f"{point.identification_rate:.1%}", f"{point.threshold:.3g}")
    out.print(table)


def write_summary(folder: Path, validation: CrossValidation) -> None:
    """Writes summary.json, all figures, and folds.csv, a row per fold; raises RunError if they cannot be written."""
    write_atomic(folder / "summary.json", json.dumps(validation.to_plain(), indent=2).encode())
    lines = [csv_line(["fold", "images", *METRICS])]
    lines += [csv_line([fold.number, fold.n, *fold.metrics.values()]) for fold in validation.folds]
    write_atomic(folder / "folds.csv", "".join(lines).encode())


def print_folds(validation: CrossValidation) -> None:
    """The metrics of each fold, their mean and standard deviation as a table on stdout."""
    table = _table(*_right("fold", "images", *METRICS.values()))
    for fold in validation.folds:
        table.add_row(str(fold.number), str(fold.n), *(f"{share:.2%}" for share in fold.metrics.values()))
    for label, shares in zip(("mean", "deviation"), zip(*map(validation.spread, METRICS), strict=True), strict=True):
        table.add_row(label, "", *(f"{share:.2%}" for share in shares))
    console().print(table)
