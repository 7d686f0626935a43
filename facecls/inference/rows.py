"""Predictions as rows: a table for people, JSON and CSV for programs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal, TextIO

from facecls.config import UNKNOWN
from facecls.inference.predict import Prediction
from facecls.text import csv_line, printable

RowFormat = Literal["table", "json", "jsonl", "csv"]


def write_predictions(predictions: Iterable[Prediction], form: RowFormat, top_k: int, file: TextIO) -> None:
    """Writes a row per picture as it comes.

    JSON has letters beyond ASCII escaped, as file names may hold what no encoding has.
    """
    {"table": _table, "json": _json, "jsonl": _jsonl, "csv": _csv}[form](predictions, top_k, file)


def _plain(prediction: Prediction) -> dict[str, Any]:
    return asdict(prediction) | {"top": [list(pair) for pair in prediction.top]}


def _json(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:  # noqa: ARG001 -- called like the others
    print(json.dumps([_plain(prediction) for prediction in predictions], indent=2), file=file)


def _jsonl(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:  # noqa: ARG001 -- called like the others
    for prediction in predictions:
        print(json.dumps(_plain(prediction)), file=file, flush=True)


def csv_header(top_k: int) -> list[str]:
    """The columns of a CSV file."""
    further = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("label", "probability")]
    return ["path", "label", "probability", "nearest", *further, "error"]


def csv_row(prediction: Prediction, top_k: int) -> list[Any]:
    """A prediction in those columns."""
    rest = [value for pair in prediction.top[1:] for value in pair]
    blank = [None] * (2 * (top_k - 1) - len(rest))
    return [prediction.path, prediction.label, prediction.probability, prediction.nearest, *rest, *blank, prediction.error]


def _csv(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:
    file.write(csv_line(csv_header(top_k)))
    for prediction in predictions:
        file.write(csv_line(csv_row(prediction, top_k)))
        file.flush()


def _table(predictions: Iterable[Prediction], top_k: int, file: TextIO) -> None:  # noqa: ARG001 -- called like the others
    for prediction in predictions:
        said = prediction.error or "   ".join(f"{label} {probability:.1%}" for label, probability in prediction.top)
        if prediction.known is False:
            said = f"{UNKNOWN}, nearest {said}"
        print(printable(f"{prediction.path}: {said}"), file=file, flush=True)
