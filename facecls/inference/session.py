"""The work of `predict`: images from where they come, named, to where their rows and drawings go."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from facecls.errors import RunError
from facecls.inference.annotate import annotate_images, explain_images
from facecls.inference.output import PredictionFile, RowFormat, write_predictions
from facecls.inference.predict import Prediction, Predictor
from facecls.inference.sources import find_images, piped, watched
from facecls.progress import Progress

STDIN = "-"


@dataclass(frozen=True)
class PredictOptions:
    """What to name and where to put it."""

    paths: tuple[str, ...]  # images, folders, patterns, STDIN
    watch: Path | None  # a folder in which images arrive, instead of paths
    output: Path | None  # a CSV file for the rows, instead of stdout
    annotate: Path | None  # folders for drawings
    explain: Path | None
    form: RowFormat
    top_k: int


def predict_images(predictor: Predictor, task: PredictOptions, progress: Progress) -> int:
    """Does the task; gives the number of images that could not be read.

    Ctrl-C ends a watch as a matter of course; elsewhere it is passed on, once it is said what stands in the output.
    """
    _refuse_mixed_drawings(task)
    results = None if task.output is None else PredictionFile(task.output, task.top_k, predictor.classes)
    groups, total = _groups(task, results.paths if results else set())
    failed = 0

    def counted() -> Iterator[Prediction]:
        nonlocal failed
        for group in groups:
            for each in predictor.predict(group, task.top_k):
                failed += each.error is not None
                yield each

    predictions = counted()
    if task.annotate is not None:
        predictions = annotate_images(predictions, task.annotate)
    if task.explain is not None:
        predictions = explain_images(predictions, task.explain, predictor)
    if task.watch is not None:
        progress.note(f"watching {task.watch}; Ctrl-C ends it")
    begun, held = time.perf_counter(), 0 if results is None else results.count
    try:
        if results is None:
            shown = sys.stdout.isatty()  # then the rows say how far it is
            rows = predictions if shown else progress.follow(predictions, total=total, unit="image", desc="named")
            write_predictions(rows, task.form, task.top_k, sys.stdout)
            return failed
        for _ in progress.follow(results.added(predictions), total=total, unit="image", desc="named"):
            pass
    except KeyboardInterrupt:
        if task.watch is not None:
            return failed
        if results is not None:
            stands = PredictionFile(
                results.path, task.top_k, predictor.classes
            ).count  # read anew: Ctrl-C may come before its count
            progress.note(f"stopped: {stands:,} images are in {results.path}; the same command goes on")
        raise
    seconds = time.perf_counter() - begun
    before = f", {held:,} were there already" if held else ""
    unread = f"; {failed:,} could not be read: see its column `error`" if failed else ""
    progress.note(f"{results.added_rows:,} images added to {task.output} in {seconds:.1f} s{before}{unread}")
    return failed


def _refuse_mixed_drawings(task: PredictOptions) -> None:
    """Raises RunError where drawings would meet images or one another."""
    if task.annotate and task.explain and task.annotate.resolve() == task.explain.resolve():
        raise RunError(f"{task.annotate}: cannot take both kinds of drawings", hint="name two folders")
    named = [task.watch] if task.watch else [Path(path) for path in task.paths]
    for drawings in filter(None, (task.annotate, task.explain)):
        for folder in named:
            is_folder = os.path.isdir(folder)  # noqa: PTH112 -- no error where the system refuses the name
            if is_folder and drawings.resolve().is_relative_to(folder.resolve()):
                raise RunError(
                    f"{drawings}: lies in {folder}, so that its drawings would be taken for images to name",
                    hint="name a folder elsewhere",
                )


def _groups(task: PredictOptions, held: set[str]) -> tuple[Iterable[list[str]], int | None]:
    """The images that are not `held` yet, in groups as they come, and how many they are, where that is known."""
    if task.watch is not None:
        return watched(task.watch, held), None
    found = [path for path in find_images(name for name in task.paths if name != STDIN) if path not in held]
    if STDIN not in task.paths:
        return [found], len(found)
    return chain([found], _without(held, piped(sys.stdin))), None


def _without(held: set[str], groups: Iterable[list[str]]) -> Iterator[list[str]]:
    for group in groups:
        yield [path for path in group if path not in held]
