"""The public API for evaluation: metrics, reports and comparisons of trained classifiers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from facecls.api.arguments import RunPath, as_path
from facecls.api.inference import load
from facecls.check.audit import audit_run
from facecls.data.python_data import LabelledImages
from facecls.errors import RunError
from facecls.evaluation.comparison import Comparison, compare_evaluations
from facecls.evaluation.evaluate import Evaluation, evaluate_checkpoint
from facecls.evaluation.run_table import summarise_run
from facecls.inference.classifier import Classifier
from facecls.progress import Reporter, reporter_of
from facecls.report.comparison import MOST_RUNS, ComparedRun, render_comparison
from facecls.report.page import check_page_output, write_page
from facecls.report.report import render_report, title_of
from facecls.run import Run, run_of
from facecls.text import plural

__all__ = ["Comparison", "Evaluation", "Page", "compare", "evaluate", "write_report"]

AnySplit: TypeAlias = Literal["train", "val", "test"] | None


@dataclass(frozen=True)
class Page:
    """An HTML page and the evaluation that it shows."""

    path: Path
    evaluation: Evaluation


def evaluate(
    classifier: Classifier | RunPath,
    data: str | Path | LabelledImages | None = None,
    *,
    split: AnySplit = None,
    impostors: str | Path | None = None,
    subgroups: str | Path | None = None,
    progress: Reporter | bool = False,
) -> Evaluation:
    """Metrics with confidence intervals, calibration error and rejection rates on labelled images.

    classifier: also a path for `load`.
    data: a folder CLASS/file or {train,val,test}/CLASS/file, a CSV file of path, label, or images as `train` takes them; None:
        the data of the classifier's own run.
    split: None: test if there is one, else val, or all images where there are no splits.
    impostors: a folder of images of unknown people, to measure the false accept rate.
    subgroups: a CSV file of path and group, to measure the accuracy of each.

    `Evaluation.to_plain()` has everything as plain values. Raises DataError if the images do not fit the classifier.
    """
    classifier, reporter = _loaded(classifier), reporter_of(progress)
    with as_path(data, reporter) as path:
        return evaluate_checkpoint(
            classifier.checkpoint,
            classifier.device,
            reporter,
            data=path,
            split_file=None if classifier.source is None else run_of(classifier.source).kept_split,
            split=split,
            impostors=None if impostors is None else Path(impostors),
            subgroups=None if subgroups is None else Path(subgroups),
            mirrored=classifier.mirrored,
        )


def write_report(
    classifier: Classifier | RunPath,
    output: str | Path | None = None,
    data: str | Path | LabelledImages | None = None,
    *,
    split: AnySplit = None,
    impostors: str | Path | None = None,
    subgroups: str | Path | None = None,
    progress: Reporter | bool = False,
) -> Page:
    """Evaluates a classifier as `evaluate` does and writes an HTML page, as `facecls report` does.

    output: an HTML file; None: report.html in the run directory.

    Raises RunError if the page cannot be written, and what `evaluate` raises.
    """
    classifier, reporter = _loaded(classifier), reporter_of(progress)
    trained, run = classifier.checkpoint, _run_of(classifier)
    path = run.folder / "report.html" if output is None else Path(output)
    check_page_output(path)  # before the evaluation
    run_data = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    with as_path(data, reporter) as given:
        evaluation = evaluate(classifier, given, split=split, impostors=impostors, subgroups=subgroups, progress=reporter)
        findings = audit_run(trained, run_data, reporter)
        images = plural(len(evaluation.split), f"{evaluation.split.name} image" if data is None else "image")
        evaluated_on = f"{images} of {data}" if isinstance(data, str | Path) else images
        title = title_of(classifier.source or run.folder)
        write_page(path, render_report(trained, run, evaluation, classifier.device, title, evaluated_on, findings))
    return Page(path, evaluation)


def compare(
    classifiers: Sequence[Classifier | RunPath],
    output: str | Path | None = None,
    data: str | Path | LabelledImages | None = None,
    *,
    split: AnySplit = None,
    impostors: str | Path | None = None,
    progress: Reporter | bool = False,
) -> Comparison:
    """Evaluates classifiers, each as `evaluate` does, and tests the difference of every pair on their common images (McNemar).

    classifiers: at least two, each also a path for `load`; at most eight for a page.
    output: an HTML file for a page with figures, curves, differences of the configs and the images that one run gets wrong.

    `Comparison.to_plain()` has everything as plain values. Raises ValueError for fewer than two classifiers, RunError if the
    page cannot be written, and what `evaluate` raises.
    """
    if isinstance(classifiers, str) or len(classifiers) < 2:
        raise ValueError("a comparison takes a list of at least two classifiers")
    if output is not None:
        if len(classifiers) > MOST_RUNS:
            raise RunError(f"a page compares at most {MOST_RUNS} runs, got {len(classifiers)}", hint="name fewer of them")
        check_page_output(Path(output))
    loaded, reporter = [_loaded(each) for each in classifiers], reporter_of(progress)
    runs = [_run_of(each) for each in loaded]
    names = [run.folder.resolve().name for run in runs]
    names = names if len(set(names)) == len(names) else [str(each.source) for each in loaded]
    with as_path(data, reporter) as given:
        evaluations = [evaluate(each, given, split=split, impostors=impostors, progress=reporter) for each in loaded]
        comparison = compare_evaluations(names, evaluations)
        if output is not None:
            compared = [
                ComparedRun(summarise_run(run, name), each.checkpoint, run.rows())
                for run, name, each in zip(runs, names, loaded, strict=True)
            ]
            write_page(Path(output), render_comparison(comparison, compared))
    return comparison


def _loaded(classifier: Classifier | RunPath) -> Classifier:
    return classifier if isinstance(classifier, Classifier) else load(classifier)


def _run_of(classifier: Classifier) -> Run:
    assert classifier.source is not None, "the classifier was not loaded from a run"
    return run_of(classifier.source)
