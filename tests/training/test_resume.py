"""What training does to its run directory."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facecls import __version__
from facecls.checkpoint import read_plain, save
from facecls.run import Run
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


@pytest.mark.parametrize("name", ["config.yaml", "split.csv", "notes.txt"])
def test_a_folder_of_the_users_own_files_is_refused(facecls: Facecls, tiny: Tiny, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_text("# by hand\n")
    result = facecls("train", tiny(), "--out", mine)
    assert result.code == 1
    assert result.err.endswith(
        f"error: {mine}: is not empty and not a run (`{name}`)\n\nhint: name a new directory with --out\n"
    )
    assert (mine / name).read_text() == "# by hand\n"
    assert {path.name for path in mine.iterdir()} == {name, ".lock"}


def test_the_images_folder_is_no_runs(facecls: Facecls, tiny: Tiny, faces: Path) -> None:
    before = sorted(path.name for path in faces.iterdir())
    result = facecls("train", tiny(), "--out", faces)
    assert result.err.endswith(f"error: {faces}: is the directory of the images\n\nhint: name another with --out\n")
    assert sorted(path.name for path in faces.iterdir()) == before


def test_a_class_called_unknown_is_refused_where_strangers_are_called_so(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    min(root.iterdir()).rename(root / "unknown")
    config = tiny(data={"root": str(root)}, train={"epochs": 1})
    result = facecls("train", config, "--out", tmp_path / "run")
    assert result.err == (
        f"error: {root}: a class is called `unknown`, the label of rejected images\n\n"
        "hint: rename it; if it holds unknown people, move it elsewhere and name it in unknown.strangers; "
        "or disable rejection: unknown.enabled=false\n"
    )
    assert facecls("train", config, "--out", tmp_path / "run", "--set", "unknown.enabled=false").code == 0


def test_strangers_that_are_not_there_are_told_as_such(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    result = facecls("train", tiny(), "--set", f"unknown.strangers={gone}", "--out", tmp_path / "run")
    assert result.err.endswith(
        f"error: {gone}: no such folder\n\nhint: strangers: name a folder that contains images, directly or in subfolders\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_training_that_could_not_begin_leaves_no_folder(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    words = ("train", tiny(), "--set", "model.pretrained=gone.pt", "--out", tmp_path / "run")
    assert "gone.pt" in facecls(*words).err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_there_is_left(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    facecls("train", tiny(), "--set", "model.pretrained=gone.pt", "--out", tmp_path / "run")
    assert (tmp_path / "run").is_dir()


def test_one_that_another_process_holds_is_left(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.open()
    with run.lock():
        result = facecls("train", tiny(), "--out", run.folder)
        assert "another process trains in this directory" in result.err
        assert (run.folder / ".lock").exists()


def test_a_run_of_an_older_version_is_known_without_its_environment(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(train={"epochs": 1})
    assert facecls("train", config, "--out", tmp_path / "run").code == 0
    (tmp_path / "run" / "environment.json").unlink()
    assert "already holds a run" in facecls("train", config, "--out", tmp_path / "run").err
    (tmp_path / "run" / "last.pt").unlink()
    (tmp_path / "run" / "best.pt").unlink()
    assert facecls("train", config, "--out", tmp_path / "run", "--resume").code == 0


def test_a_run_goes_on_with_all_its_images(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    config = tiny(data={"root": str(root), "on_bad_image": "skip"}, train={"epochs": 1})
    assert facecls("train", config, "--out", tmp_path / "run").code == 0
    rows = (tmp_path / "run" / "split.csv").read_text().splitlines()
    gone = root / min(row for row in rows if ",val," in row).partition(",")[0]
    gone.unlink()
    result = facecls("train", config, "--out", tmp_path / "run", "--resume")
    assert f"{gone}: no such file" in result.err
    assert result.err.endswith(f"hint: relative paths start from {root}; a resumed run needs the images it started with\n")
    evaluation = facecls("eval", tmp_path / "run")
    assert evaluation.code == 1 and f"skipped: {gone}: no such file\n" in evaluation.err
    report = facecls("report", tmp_path / "run")
    assert report.code == 1 and f"skipped: {gone}: no such file\n" in report.err


def test_hidden_files_do_not_make_a_folder_the_users(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".gitkeep").write_text("mine")
    assert facecls("train", tiny(train={"epochs": 1}), "--out", tmp_path / "run").code == 0
    assert (tmp_path / "run" / ".gitkeep").read_text() == "mine"


def test_one_that_has_ended_says_so(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(train={"epochs": 1})
    subprocess.run(
        [sys.executable, "-m", "facecls", "train", config, "--out", tmp_path / "run"], check=True, capture_output=True
    )
    result = facecls("train", config, "--out", tmp_path / "run", "--resume")
    assert result.code == 0
    assert "training has ended already; calibrating again\n" in result.err
    assert "resuming at" not in result.err


def test_folds_do_not_lie_in_a_training(facecls: Facecls, tiny: Tiny, trained: Path) -> None:
    result = facecls("cross-validate", tiny(), "--folds", "2", "--out", trained)
    assert result.err.endswith(f"error: {trained}: holds the run of a single training\n\nhint: name another with --out\n")
    assert not (trained / "fold-1").exists()


def test_a_page_that_folds_may_not_write_is_told_before_them(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "cv").mkdir()
    page = tmp_path / "cv" / "report.html"
    page.write_text("mine")
    result = facecls("cross-validate", tiny(), "--folds", "2", "--out", tmp_path / "cv")
    assert result.err == f"error: {page}: already exists and is not an HTML page\n\nhint: choose another file name\n"
    assert not (tmp_path / "cv" / "fold-1").exists()


def test_more_folds_than_images_are_refused_before_the_first(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for person in sorted(faces.iterdir())[:2]:
        (few / person.name).mkdir(parents=True)
        for number, path in enumerate(sorted(person.iterdir())[:2]):
            (few / person.name / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    result = facecls("cross-validate", tiny(data={"root": str(few)}), "--folds", "5", "--out", tmp_path / "folds")
    assert result.err.endswith(
        f"error: split.folds: the 4 images of {few} fill only 4 of 5 folds\n\n"
        "hint: reduce `split.folds`; images of one group (`split.group`) stay in one fold\n"
    )
    assert not (tmp_path / "folds" / "fold-1").exists()


def test_a_resumed_run_keeps_the_precision_that_auto_resolved(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = tiny(precision="auto", train={"epochs": 1}), tmp_path / "run"
    resume = ("train", config, "--out", out, "--resume", "--set", "train.epochs=2")
    monkeypatch.setattr("facecls.precision.processor", lambda: "AMD EPYC")
    monkeypatch.setattr("facecls.precision.cache_folder", lambda: tmp_path / "first")
    monkeypatch.setattr("facecls.precision.measure", lambda *_: {"fp32": 2.1, "bf16": 1.0})
    first = facecls("train", config, "--out", out)
    assert "precision auto: bf16, 2.1 times as fast as fp32 (measured on AMD EPYC, 1 thread)\n" in first.err
    assert "\nprecision: bf16\n" in (out / "config.yaml").read_text()
    assert read_plain(out / "last.pt")["config"]["precision"] == read_plain(out / "best.pt")["config"]["precision"] == "bf16"

    monkeypatch.setattr("facecls.precision.cache_folder", lambda: tmp_path / "second")
    monkeypatch.setattr("facecls.precision.measure", lambda *_: {"fp32": 1.0, "bf16": 2.1})
    other = facecls(*resume, "--set", "precision=fp32")
    assert other.code == 1 and "\nerror: precision: the run has 'bf16', got 'fp32'\n" in other.err
    resumed = facecls(*resume)
    assert resumed.code == 0 and "cnn, cpu, bf16, 1 thread;" in resumed.err and "precision auto" not in resumed.err
    assert "\nprecision: bf16\n" in (out / "config.yaml").read_text()


def test_folds_with_an_automatic_precision_are_done_already(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    command = ("cross-validate", tiny(precision="auto", train={"epochs": 1}), "--folds", "2", "--out", tmp_path / "run")
    assert facecls(*command).code == 0
    assert "fold 1 of 2: done already\nfold 2 of 2: done already\n" in facecls(*command, "--resume").err


def test_the_number_of_threads_may_change_on_resume(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config, out = tiny(train={"epochs": 1}), tmp_path / "run"
    assert facecls("train", config, "--out", out).code == 0
    try:
        resumed = facecls("train", config, "--out", out, "--resume", "--set", "threads=2", "--set", "train.epochs=2")
    finally:
        torch.set_num_threads(1)
    assert resumed.code == 0 and "threads: changed from None to 2\n" in resumed.err and "fp32, 2 threads;" in resumed.err


def test_a_finished_run_without_last_pt_is_not_trained_anew(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config, run = tiny(train={"epochs": 1}), Run(tmp_path / "run")
    trained = facecls("train", config, "--out", run.folder)
    size = f"{run.last.stat().st_size / 1e6:.1f} MB"
    note = f"{run.last} ({size}) is needed only to train for more epochs; otherwise it can be deleted"
    assert trained.err.splitlines()[-1] == note
    run.last.unlink()
    before = run.best.read_bytes()
    result = facecls("train", config, "--out", run.folder, "--resume")
    assert result.code == 1 and result.err == (
        f"error: {run.folder}: training has ended, and without last.pt it cannot be resumed\n\n"
        "hint: use best.pt, or train into another directory with --out\n"
    )
    assert run.best.read_bytes() == before
    assert facecls("eval", run.folder).code == facecls("report", run.folder).code == 0


@pytest.mark.parametrize("field", ["epoch", "optimizer", "skipped", "processes"])
def test_a_training_state_of_another_version_is_an_error(facecls: Facecls, tiny: Tiny, tmp_path: Path, field: str) -> None:
    config, run = tiny(train={"epochs": 1}), Run(tmp_path / "run")
    facecls("train", config, "--out", run.folder)
    plain = read_plain(run.last)
    del plain["training"][field]
    save(run.last, plain)
    result = facecls("train", config, "--out", run.folder, "--resume", "--set", "train.epochs=2")
    assert result.code == 1 and result.err.endswith(
        f"error: {run.last}: was written by facecls {__version__} and cannot be read by the installed {__version__}\n"
        f"error: training: '{field}' is missing\n\nhint: use the version of facecls that wrote it, or train again\n"
    )


def test_metrics_of_another_version_are_an_error(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    facecls("train", tiny(train={"epochs": 1}), "--out", run.folder)
    run.metrics.write_text('{"epoch": 0, "speed": 3}\n')
    result = facecls("report", run.folder)
    assert result.code == 1 and "Traceback" not in result.err
    problem = f"error: {run.metrics}: was not written by this version of facecls: "
    assert problem in result.err and result.err.endswith("hint: use the version of facecls that wrote it, or train again\n")


def test_weights_of_classes_that_there_are_not_are_refused_before_the_images_are_read(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    first = min(path.name for path in faces.iterdir())
    config = tiny(data={"balance": {first: 2.0, "nobody": 1.0}})
    result = facecls("train", config, "--out", tmp_path / "run")
    assert result.code == 1 and result.err.startswith("error: data.balance: `nobody` is not a class\n\nhint: the classes are `")
    assert "training cannot start: data.balance: `nobody` is not a class" in facecls("check", config, "--format", "json").out
    assert facecls("train", tiny(data={"balance": {first: 2.0}}, train={"epochs": 1}), "--out", tmp_path / "run").code == 0
