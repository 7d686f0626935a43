"""An evaluation as tables for people and JSON for programs."""

import json

from rich.console import Console
from rich.table import Column, Table

from facecls.evaluation.metrics import Scores, confused_pairs
from facecls.inference.score import Scored

_CONFUSION_CLASSES = 12  # up to so many classes the confusion matrix fits a terminal
_PAIRS = 10


def scores_to_json(scored: Scored) -> str:
    """An evaluation as one JSON object."""
    skipped = [{"path": error.path, "error": error.reason} for error in scored.skipped]
    return json.dumps(scored.scores.to_plain() | {"skipped": skipped}, indent=2, ensure_ascii=False)


def print_scores(scored: Scored) -> None:
    """An evaluation as tables on stdout."""
    scores, console = scored.scores, Console(highlight=False)
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(justify="left")
    head.add_column(justify="right")
    for name, value in _headline(scores):
        head.add_row(name, value)
    console.print(head)
    table = Table("class", *_right("precision", "recall", "F1", "pictures"), box=None, pad_edge=False)
    for row in scores.per_class:
        table.add_row(row.name, f"{row.precision:.1%}", f"{row.recall:.1%}", f"{row.f1:.1%}", str(row.support))
    console.print()
    console.print(table)
    console.print()
    console.print(_confusion(scores) if len(scores.classes) <= _CONFUSION_CLASSES else _pairs(scores))
    for error in scored.skipped:
        console.print(f"not counted: {error}")


def _headline(scores: Scores) -> list[tuple[str, str]]:
    return [
        ("pictures", str(scores.n)),
        ("loss", f"{scores.loss:.4f}"),
        ("accuracy", f"{scores.accuracy:.2%}"),
        ("balanced accuracy", f"{scores.balanced_accuracy:.2%}"),
        ("macro F1", f"{scores.macro_f1:.2%}"),
        ("weighted F1", f"{scores.weighted_f1:.2%}"),
        *((f"top-{k} accuracy", f"{share:.2%}") for k, share in scores.top_k.items()),
    ]


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _confusion(scores: Scores) -> Table:
    table = Table("true \\ named", *_right(*scores.classes), box=None, pad_edge=False)
    for name, row in zip(scores.classes, scores.confusion, strict=True):
        table.add_row(name, *(str(count) if count else "." for count in row))
    return table


def _pairs(scores: Scores) -> Table:
    table = Table("true", "named", *_right("pictures"), box=None, pad_edge=False, title="taken for one another most often")
    for pair in confused_pairs(scores.confusion, scores.classes, _PAIRS):
        table.add_row(pair.true, pair.predicted, str(pair.count))
    return table
