"""An evaluation as tables for people and JSON for programs."""

import json
import os

from rich.console import Console
from rich.table import Column, Table

from facecls.evaluation.cross_validation import FIGURES, CrossValidation
from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.metrics import Metrics
from facecls.evaluation.result import OpenSetResult
from facecls.evaluation.subgroups import SubgroupResult
from facecls.open_set.scores import SCORES
from facecls.text import printable

_CONFUSION_CLASSES = 12  # up to so many classes the confusion matrix fits a terminal, if need be with numbers for names
_NO_EDGE = 10_000  # columns of what is no terminal: a file has no edge at which lines must end


def scores_to_json(evaluation: Evaluation) -> str:
    """An evaluation as one JSON object; letters beyond ASCII are escaped, as file names may hold what no encoding has."""
    return json.dumps(evaluation.to_plain(), indent=2)


def print_scores(evaluation: Evaluation) -> None:
    """An evaluation as tables on stdout."""
    scores, console = evaluation.closed_set.scores, _console()
    head = Table(Column(), Column(justify="right"), Column(), box=None, show_header=False, pad_edge=False)
    for row in _headline(evaluation):
        head.add_row(*row)
    console.print(head)
    table = Table("class", *_right("precision", "recall", "F1", "images"), box=None, pad_edge=False)
    for each in scores.per_class:
        table.add_row(printable(each.name), f"{each.precision:.1%}", f"{each.recall:.1%}", f"{each.f1:.1%}", str(each.support))
    console.print()
    console.print(table)
    if len(scores.classes) <= _CONFUSION_CLASSES:
        console.print()
        console.print(_confusion(scores, console))
    if evaluation.closed_set.pairs:
        console.print()
        console.print(_pairs(evaluation))
    if evaluation.groups is not None:
        console.print()
        _print_groups(evaluation.groups, console)
    if evaluation.open_set.threshold is not None or evaluation.open_set.rates is not None:
        console.print()
        _print_unknown(evaluation.open_set, console)
    for error in evaluation.skipped:
        console.print(printable(f"not counted: {error}"))


def _console() -> Console:
    """As wide as the terminal, or as COLUMNS says; elsewhere as wide as the lines are."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_EDGE
    return console


def _headline(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    closed_set, scores = evaluation.closed_set, evaluation.closed_set.scores

    def between(name: str) -> str:
        low, high = closed_set.intervals[name]
        return f"{low:.1%} to {high:.1%}"

    return [
        ("images", str(scores.n), f"{evaluation.seconds:.1f} s, {evaluation.images_per_second:.0f} images/s"),
        ("loss", f"{scores.loss:.4f}", "before calibration"),
        ("accuracy", f"{scores.accuracy:.2%}", between("accuracy")),
        ("balanced accuracy", f"{scores.balanced_accuracy:.2%}", between("balanced_accuracy")),
        ("macro F1", f"{scores.macro_f1:.2%}", between("macro_f1")),
        ("weighted F1", f"{scores.weighted_f1:.2%}", ""),
        *((f"top-{k} accuracy", f"{share:.2%}", "") for k, share in scores.top_k.items()),
        ("ROC-AUC", "-" if closed_set.roc_auc is None else f"{closed_set.roc_auc:.4f}", "one class against the rest"),
        ("calibration error", f"{closed_set.ece[1]:.4f}", f"{closed_set.ece[0]:.4f} before calibration"),
        ("Brier score", f"{closed_set.brier[1]:.4f}", f"{closed_set.brier[0]:.4f} before calibration"),
    ]


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _confusion(scores: Metrics, console: Console) -> Table:
    """The matrix with the classes' names above its columns, or with their numbers where the names do not fit side by side."""
    names = [printable(name) for name in scores.classes]
    numbers = [str(number) for number in range(1, len(names) + 1)]
    cells = [[str(count) if count else "." for count in row] for row in scores.confusion]
    named = Table("true \\ named", *_right(*names), box=None, pad_edge=False)
    fixed = [Column(number, justify="right", no_wrap=True) for number in ("", *numbers)]  # if anything, a name is folded
    numbered = Table(fixed[0], Column("true \\ named", overflow="fold"), *fixed[1:], box=None, pad_edge=False)
    for number, name, row in zip(numbers, names, cells, strict=True):
        named.add_row(name, *row)
        numbered.add_row(number, name, *row)
    unbounded = console.options.update_width(_NO_EDGE)
    return named if console.measure(named, options=unbounded).maximum <= console.width else numbered


def _pairs(evaluation: Evaluation) -> Table:
    table = Table("true", "taken for", *_right("images", "of its own"), box=None, pad_edge=False)
    for pair in evaluation.closed_set.pairs:
        table.add_row(printable(pair.true), printable(pair.predicted), str(pair.count), f"{pair.share:.1%}")
    return table


def _print_groups(groups: SubgroupResult, console: Console) -> None:
    table = Table("group", *_right("images", "accuracy"), "95 % interval", box=None, pad_edge=False)
    for each in groups.groups:
        low, high = each.interval
        table.add_row(printable(each.group), str(each.n), f"{each.accuracy:.1%}", f"{low:.1%} to {high:.1%}")
    console.print(table)
    if groups.gap > 0:
        console.print(f"gap: {groups.gap:.1%} between {groups.best} and {groups.worst}")


def _expected(open_set: OpenSetResult) -> str:
    if open_set.expected is None:
        return ""
    low, high = open_set.expected
    return f"; by how the threshold was set, {low:.1%} to {high:.1%} were to be expected"


def _print_unknown(open_set: OpenSetResult, console: Console) -> None:
    threshold = open_set.threshold
    if threshold is not None:
        console.print(
            f"unknown below {threshold.value:.3g} ({SCORES[threshold.score]}): {open_set.accepted:.1%} of the known are kept, "
            f"{open_set.identified:.1%} kept and named right"
        )
    if open_set.false_accept is not None:
        share, low, high = open_set.false_accept
        console.print(
            f"of {open_set.impostors} strangers {share:.1%} are given a name (95 % interval {low:.1%} to {high:.1%})"
            f"{_expected(open_set)}"
        )
    if open_set.rates is None:
        return
    columns = "strangers let in", "known kept and named right (DIR)", "at a threshold of"
    table = Table(*_right(*columns), box=None, pad_edge=False)
    for point in open_set.rates.points:
        table.add_row(f"at most {point.rate:.0%}", f"{point.identified:.1%}", f"{point.threshold:.3g}")
    console.print(table)


def print_folds(validation: CrossValidation) -> None:
    """The folds and their spread as a table on stdout."""
    right = [Column(name, justify="right") for name in ("images", *FIGURES.values())]
    table = Table(Column("fold", justify="right"), *right, box=None, pad_edge=False)
    for fold in validation.folds:
        table.add_row(str(fold.number), str(fold.n), *(f"{share:.2%}" for share in fold.figures.values()))
    spreads = [validation.spread(name) for name in FIGURES]
    table.add_row("mean", "", *(f"{mean:.2%}" for mean, _ in spreads))
    table.add_row("deviation", "", *(f"{deviation:.2%}" for _, deviation in spreads))
    Console(highlight=False, markup=False, emoji=False).print(table)
