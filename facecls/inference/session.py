"""`predict_images`: one call of `facecls predict`, from the image paths to the written rows and annotated images."""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from facecls.errors import ImageError, InstallError, RunError
from facecls.faces.detect import DetectorOptions
from facecls.faces.geometry import Detection
from facecls.faces.photograph import NO_FACE, find_faces
from facecls.inference.annotate import annotate_images, explain_images
from facecls.inference.classifier import Classifier, Prediction
from facecls.inference.output import PredictionFile, RowFormat, write_predictions
from facecls.inference.sources import find_images, read_paths, watch_folder
from facecls.open_set.calibration import rejection_warnings
from facecls.progress import Progress
from facecls.text import plural

STDIN = "-"

# A face whose side is less than a third of the image's is one in a photograph. The sizes and the retry of `detect` would take
# longer, and find faces that are smaller or fill the image.
_SMALL = 1 / 3
_SEARCHED = 8  # images, so that it takes a fraction of a second
_SEARCH = Detection(options=DetectorOptions(sizes=(640,), retry=False))


@dataclass(frozen=True)
class PredictOptions:
    """Which images to classify and where to write the results."""

    paths: tuple[str, ...]  # images, folders, glob patterns, STDIN
    watch: Path | None  # folder to watch for images; then `paths` is empty
    output: Path | None  # CSV file to append rows to; None: rows go to stdout
    annotate: Path | None  # folder for images with their predictions
    explain: Path | None  # folder for Grad-CAM overlays
    form: RowFormat  # of the rows on stdout
    top_k: int


def predict_images(classifier: Classifier, options: PredictOptions, progress: Progress) -> int:
    """Classifies the images, writes the results and returns the number of images that could not be read.

    Raises RunError for output folders that overlap with each other or the input. KeyboardInterrupt ends a watch normally;
    otherwise it is raised again, after a message with the number of images in the output file.
    """
    _check_folders(options)
    detected = classifier.geometry.detection is not None
    file = (
        None
        if options.output is None
        else PredictionFile(options.output, options.top_k, classifier.fingerprint, detected=detected)
    )
    chunks, total = _chunks(options, file.done if file else set())
    unreadable, without, turned = 0, 0, 0

    def predict() -> Iterator[list[Prediction]]:
        nonlocal unreadable, without, turned
        for chunk in chunks:
            for image in classifier.by_image(chunk, options.top_k):
                unreadable += image[0].error not in (None, NO_FACE)
                without += image[0].error == NO_FACE
                turned += bool(image[0].turn)
                yield image

    predictions = predict()
    if not detected:
        known = chunks[0] if total is not None and isinstance(chunks, list) else []
        sample = {known[index] for index in np.linspace(0, len(known) - 1, min(_SEARCHED, len(known))).astype(int)}
        predictions = _warn_of_photographs(predictions, sample, classifier.geometry.crop, progress)
    if options.annotate is not None:
        predictions = annotate_images(predictions, options.annotate)
    if options.explain is not None:
        predictions = explain_images(predictions, options.explain, classifier)
    for text in rejection_warnings(classifier.calibration.threshold):
        progress.note(f"warning: {text}")
    if options.watch is not None:
        progress.note(f"watching {options.watch}; press Ctrl-C to stop")
    start, count_before = time.perf_counter(), 0 if file is None else file.image_count
    try:
        if file is None:
            fingerprint = classifier.fingerprint if options.form == "csv" else ""
            if not sys.stdout.isatty():  # on a terminal the rows themselves show the progress
                predictions = progress.follow(predictions, total=total, unit="image", desc="classified")
            write_predictions(predictions, options.form, options.top_k, fingerprint, sys.stdout, detected=detected)
            if without:
                progress.note(f"no face was found in {plural(without, 'image')}")
            _warn_of_turned(turned, progress)
            return unreadable
        for _ in progress.follow(file.append(predictions), total=total, unit="image", desc="classified"):
            pass
    except KeyboardInterrupt:
        if options.watch is not None:
            return unreadable
        if file is not None:
            # The file is read again: the interruption may fall between writing a row and counting it.
            saved = PredictionFile(file.path, options.top_k, classifier.fingerprint, detected=detected).image_count
            progress.note(f"interrupted; {plural(saved, 'image')} saved in {file.path}. Run the same command to continue")
        raise
    seconds = time.perf_counter() - start
    before = f"; {count_before:,} were already there" if count_before else ""
    failed = f"; {unreadable:,} could not be read, see column `error`" if unreadable else ""
    failed += f"; no face was found in {without:,}" if without else ""
    _warn_of_turned(turned, progress)
    progress.note(f"{plural(file.appended, 'image')} added to {file.path} in {seconds:.1f} s{before}{failed}")
    return unreadable


def _warn_of_turned(count: int, progress: Progress) -> None:
    if count:
        progress.note(
            f"warning: the faces in {plural(count, 'image')} seem sideways or inverted, see `turn`: their predictions are "
            "unreliable; `facecls prepare --rotate` turns such images"
        )


def _warn_of_photographs(
    predictions: Iterator[list[Prediction]], sample: set[str], crop: float, progress: Progress
) -> Iterator[list[Prediction]]:
    """Warns once if an image of the sample, or if that is empty one of the first, shows a small face, but was taken whole.

    `crop` is the share of each side that is classified. Without a detector there is no warning.
    """
    left = _SEARCHED
    for image in predictions:
        if left and image[0].error is None and (not sample or image[0].path in sample):
            left -= 1
            try:
                found = find_faces(image[0].path, _SEARCH)
            except ImageError:  # the file was removed
                found = None
            except InstallError:
                left, found = 0, None
            if found and found.faces:
                _, _, width, height = found.faces[0].box
                if math.sqrt(width * height) < _SMALL * crop * min(found.width, found.height):
                    left = 0
                    progress.note(
                        f"warning: {image[0].path}: looks like a whole photograph, with a face of {width:.0f} x {height:.0f} "
                        f"in {found.width} x {found.height} pixels, but this checkpoint takes each image as one face; "
                        "train with `--set data.faces=detect`, or cut the faces out with `facecls prepare`"
                    )
        yield image


def _check_folders(options: PredictOptions) -> None:
    """Raises RunError if output folders are the same, or lie in an input folder."""
    if options.annotate and options.explain and options.annotate.resolve() == options.explain.resolve():
        raise RunError(f"{options.annotate}: cannot be used for both --annotate and --explain", hint="use two folders")
    inputs = [options.watch] if options.watch else [Path(path) for path in options.paths]
    for output in filter(None, (options.annotate, options.explain)):
        for folder in inputs:
            is_folder = os.path.isdir(folder)  # noqa: PTH112 -- Path.is_dir raises for names that are too long
            if is_folder and output.resolve().is_relative_to(folder.resolve()):
                raise RunError(
                    f"{output}: lies in {folder}, so the annotated images would be classified as well",
                    hint="choose a folder elsewhere",
                )


def _chunks(options: PredictOptions, done: set[str]) -> tuple[Iterable[list[str]], int | None]:
    """Returns the images that are not in `done`, in chunks as they arrive, and their number if it is known."""
    if options.watch is not None:
        return watch_folder(options.watch, done), None
    found = [path for path in find_images(path for path in options.paths if path != STDIN) if path not in done]
    if STDIN not in options.paths:
        return [found], len(found)
    arriving = ([path for path in chunk if path not in done] for chunk in read_paths(sys.stdin))
    return chain([found], arriving), None
