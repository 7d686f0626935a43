"""The commands through `main()`: files and rows they write, imports, and error messages for bad input."""

import csv
import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from facecls import __version__
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]

MAIN = "from facecls.cli import main\ntry: main()\nexcept SystemExit: pass\n"


def test_train_writes_the_files_of_a_run_and_prints_the_checkpoint(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    result = facecls("train", tiny(), "--out", tmp_path / "run")
    assert result.code == 0
    assert result.out.splitlines()[-1] == str(tmp_path / "run" / "best.pt")
    assert [line.split("  ")[0] for line in result.out.splitlines()[:-1]] == ["epoch 1/2", "epoch 2/2"]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"config.yaml", "split.csv", "metrics.jsonl", "environment.json", "best.pt", "last.pt"}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert rows[0].keys() >= {
        *("epoch", "step", "lr", "train_loss", "val_loss", "val_accuracy", "val_macro_f1"),
        *("images_per_second", "data_wait", "seconds"),
    }


def test_the_resolved_config_of_a_run_trains_the_same_weights(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    facecls("train", tiny(), "--out", tmp_path / "one", "--set", "train.epochs=1")
    facecls("train", tmp_path / "one" / "config.yaml", "--out", tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "best.pt")["weights"] for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_eval_agrees_with_scikit_learn_on_the_rows_of_predict(facecls: Facecls, trained: Path, faces: Path) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    plain = json.loads(facecls("eval", trained, "--format", "json").out)
    with (trained / "split.csv").open(newline="") as file:
        held_out = [row for row in csv.DictReader(file) if row["split"] == "val"]
    images = [faces / row["path"] for row in held_out]
    rows = json.loads(facecls("predict", *images, "--checkpoint", trained, "--format", "json").out)
    true, predicted = [row["class"] for row in held_out], [row["nearest"] for row in rows]
    assert plain["n"] == len(held_out) == 12
    assert plain["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert plain["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert plain.keys() >= {"loss", "balanced_accuracy", "classes", "confusion", "per_class", "weighted_f1", "skipped"}


def test_eval_of_another_folder_maps_its_classes_by_name(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    some = sorted(path for path in faces.iterdir())[2:]
    for person in some:
        (tmp_path / "others" / person.name).mkdir(parents=True)
        for image in list(person.iterdir())[:3]:
            (tmp_path / "others" / person.name / image.name).symlink_to(image)
    result = facecls("eval", trained, "--data", tmp_path / "others", "--format", "json")
    assert json.loads(result.out)["n"] == 6
    assert "has no images of" in result.err


def test_eval_prints_tables_by_default(facecls: Facecls, trained: Path) -> None:
    out = facecls("eval", trained).out
    assert "balanced accuracy" in out and "true \\ predicted" in out


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_predict_writes_a_row_per_image_in_order_and_the_reason_for_an_unreadable_one(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, form: str
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    images = sorted(str(path) for path in faces.rglob("*.*"))[:3]
    paths = [images[0], str(broken), *images[1:]]
    result = facecls("predict", *paths, "--checkpoint", trained, "--top-k", "2", "--format", form)
    assert result.code == 1
    if form == "table":
        assert [line.split(": ")[0] for line in result.out.splitlines()] == paths
        assert f"{broken}: is empty" in result.out
        return
    if form == "csv":
        rows: list[dict[str, Any]] = list(csv.DictReader(result.out.splitlines()))
    else:
        rows = json.loads(result.out if form == "json" else f"[{','.join(result.out.splitlines())}]")
    assert [row["path"] for row in rows] == paths
    assert rows[1]["error"] == "is empty"
    assert not rows[1]["label"] and rows[0]["nearest"] in {path.name for path in faces.iterdir()}
    if form != "csv":
        assert list(rows[0]) == ["path", "label", "probability", "top", "error", "nearest", "known"]
        assert rows[0]["top"][0] == [rows[0]["nearest"], rows[0]["probability"]] and len(rows[0]["top"]) == 2


def test_predict_takes_folders_and_patterns_and_the_newest_run(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "people").symlink_to(trained)
    person = sorted(faces.iterdir())[0]
    folder = facecls("predict", person, "--format", "csv", "--no-unknown")
    pattern = facecls("predict", str(person / "*.*"), "--format", "csv", "--no-unknown")
    assert folder.code == pattern.code == 0
    assert folder.out == pattern.out and len(folder.out.splitlines()) == 1 + 12
    assert folder.err == "using runs/people/best.pt\n"


def test_help_and_version_do_not_import_torch() -> None:
    for word in ("--help", "--version"):
        code = f"import sys; sys.argv = ['facecls', '{word}']\n{MAIN}"
        done = subprocess.run(
            [sys.executable, "-c", code + "print('torch' in sys.modules)"], check=True, capture_output=True, text=True
        )
        assert done.stdout.splitlines()[-1] == "False"
    assert done.stdout.splitlines()[0] == f"facecls {__version__}"


def test_init_of_a_missing_folder_does_not_import_torch(tmp_path: Path) -> None:
    code = f"import sys; sys.argv = ['facecls', 'init', {str(tmp_path / 'gone')!r}]\n{MAIN}print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert done.stderr == (
        f"error: {tmp_path / 'gone'}: no such folder\n\nhint: `facecls demo-faces DIR` draws synthetic faces to try\n"
    )


def test_predict_does_not_import_torchvision_or_scikit_learn(trained: Path, faces: Path) -> None:
    image = next(faces.rglob("*.jpg"))
    code = (
        f"import sys; sys.argv = ['facecls', 'predict', {str(image)!r}, '--checkpoint', {str(trained)!r}]\n"
        "from facecls.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torchvision', 'sklearn', 'scipy', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    row, imported = done.stdout.splitlines()
    assert row.startswith(f"{image}: ") and row.endswith("%")
    assert imported == "[]"


def test_models_are_listed_with_their_size_and_detectors_with_their_weights(facecls: Facecls) -> None:
    rows = {row["name"]: row for row in json.loads(facecls("models", "--classes", "1000", "--format", "json").out)}
    assert rows["resnet18"]["parameters"] == 11_689_512
    assert rows["linear"]["multiply_adds"] == 3 * 112 * 112 * 1000
    assert rows["yunet"] | {"file": None, "error": None} == {
        **{"name": "yunet", "kind": "detector", "weights": "YuNet 2023mar", "licence": "MIT", "file": None, "error": None},
        "source": "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
    }
    assert (rows["yunet"]["file"] is None) != (rows["yunet"]["error"] is None)
    out = facecls("models").out
    assert "resnet18" in out and "yunet  YuNet 2023mar, MIT licence\n" in out


def test_the_schema_file_of_configs_is_the_printed_schema(facecls: Facecls) -> None:
    printed = json.loads(facecls("config", "schema").out)
    shipped = Path(__file__).parent.parent / "configs" / "schema.json"
    assert json.loads(shipped.read_text()) == printed


def error_of(result: Result) -> str:
    assert (result.code, result.out) == (1, "")
    return result.err


def test_a_missing_config_is_one_line_and_a_hint(facecls: Facecls) -> None:
    assert error_of(facecls("train", "nowhere.yaml")) == (
        "error: nowhere.yaml: no such file\n\nhint: `facecls init DIR` writes a config that fits a folder of faces\n"
    )


def test_a_config_that_is_a_list_is_refused(facecls: Facecls, tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- data\n")
    assert error_of(facecls("train", path)).startswith(
        f"error: {path}: a config is a mapping of sections, this is a list\n\nhint: "
    )


@pytest.mark.parametrize("command", ["train", "check", "cross-validate"])
@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (["--lr", "0.1"], "config values are set with `--set optimizer.lr=0.1`"),
        (["--batch-size=8"], "config values are set with `--set train.batch_size=8`"),
        (["--train.epochs", "3"], "config values are set with `--set train.epochs=3`"),
        (["--nesterov"], "config values are set with `--set optimizer.nesterov=VALUE`"),
        (["--fold", "1"], "config values are set with `--set split.fold=1`"),
        (["--xyz", "1"], "config values are set with `--set KEY=VALUE`; `facecls config schema` lists the keys"),
    ],
)
def test_an_unknown_option_gets_the_config_key_of_its_name(
    facecls: Facecls, command: str, option: list[str], hint: str
) -> None:
    name = option[0].partition("=")[0]
    result = facecls(command, "c.yaml", *option)
    assert (result.code, result.err) == (2, f"error: no such option: {name}\n\nhint: {hint}\n")


def test_an_unknown_option_near_another_is_told_its_name(facecls: Facecls) -> None:
    result = facecls("train", "c.yaml", "--resum")
    assert (result.code, result.err.startswith("error: no such option: --resum\n\nhint: did you mean `--resume`")) == (2, True)


def test_train_and_check_take_a_device(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(device="cuda:63")
    for command in (["check", config], ["train", config, "--out", tmp_path / "run", "--set", "train.epochs=1"]):
        assert facecls(*command).code == 1
        assert facecls(*command, "--device", "cpu").code == 0
    assert "input should be one of auto | cpu" in facecls("train", config, "--device", "gpu").err


def test_a_missing_checkpoint_is_named(facecls: Facecls) -> None:
    assert error_of(facecls("eval", "nowhere.pt")) == (
        "error: nowhere.pt: no such checkpoint\n\nhint: use a best.pt or last.pt that `facecls train` wrote\n"
    )


def test_a_truncated_checkpoint_is_refused(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.pt"
    path.write_bytes((trained / "best.pt").read_bytes()[:5000])
    assert error_of(facecls("predict", "x.jpg", "--checkpoint", path)).startswith(
        f"error: {path}: is not a checkpoint, or an incomplete one\n\nhint: "
    )


def test_a_checkpoint_whose_bytes_changed_is_refused(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "flipped.pt"
    held = bytearray((trained / "best.pt").read_bytes())
    held[len(held) // 2] ^= 255
    path.write_bytes(held)
    assert error_of(facecls("predict", "x.jpg", "--checkpoint", path)) == (
        f"error: {path}: is damaged: a checksum does not match\n\nhint: copy the file again\n"
    )


@pytest.mark.parametrize("text", [b"data: {root: x}\n", b"seed: 0\n", b"(dp0\n", b"\x80", b"P", b"PK", b"\x80\x02a." * 9])
def test_what_is_no_checkpoint_is_refused_whatever_it_begins_with(facecls: Facecls, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "notes.pt"
    path.write_bytes(text)
    assert error_of(facecls("eval", path)).startswith(f"error: {path}: is not a checkpoint, or an incomplete one\n\nhint: ")


def test_a_pickle_is_refused_without_a_warning(facecls: Facecls, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "foreign.pt"
    path.write_bytes(pickle.dumps({"a": 1}, protocol=4))
    assert error_of(facecls("eval", path)).startswith(f"error: {path}: is not a checkpoint, or an incomplete one\n\nhint: ")
    assert not [each for each in recwarn if "pickle" in str(each.message)]


def test_a_foreign_checkpoint_is_refused(facecls: Facecls, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save({"state_dict": {}}, path)
    assert error_of(facecls("eval", path)).startswith(
        f"error: {path}: is a torch file, but not a checkpoint of facecls\n\nhint: "
    )


def test_what_does_not_fit_in_a_checkpoint_of_another_version_is_listed(
    facecls: Facecls, trained: Path, tmp_path: Path
) -> None:
    path, plain = tmp_path / "other.pt", torch.load(trained / "best.pt")
    plain["facecls"] = "0.0.9"
    plain["config"]["train"] |= {"epochs": 0, "speed": 3}
    plain["geometry"] |= {"side": 3}
    plain["calibration"].pop("threshold")
    torch.save(plain, path)
    assert error_of(facecls("eval", path)) == (
        f"error: {path}: was written by facecls 0.0.9 and cannot be read by the installed {__version__}\n"
        "error: config.train.epochs: Input should be greater than or equal to 1, got 0\n"
        "error: config.train.speed: is not a key of this version\n"
        "error: geometry: Geometry.__init__() got an unexpected keyword argument 'side'\n"
        "error: calibration: is missing 'threshold'\n\n"
        "hint: use the version of facecls that wrote it, or train again\n"
    )


def test_missing_fields_of_a_checkpoint_are_listed(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    path, plain = tmp_path / "other.pt", torch.load(trained / "best.pt")
    del plain["head"], plain["calibration_flipped"]
    torch.save(plain, path)
    assert error_of(facecls("eval", path)) == (
        f"error: {path}: was written by facecls {__version__} and cannot be read by the installed {__version__}\n"
        "error: head: is missing\nerror: calibration_flipped: is missing\n\n"
        "hint: use the version of facecls that wrote it, or train again\n"
    )


def test_weights_that_do_not_fit_the_model_are_listed(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    path, plain = tmp_path / "other.pt", torch.load(trained / "best.pt")
    name = min(plain["weights"])
    plain["weights"]["other"] = plain["weights"].pop(name)
    torch.save(plain, path)
    result = facecls("predict", "x.jpg", "--checkpoint", path)
    assert error_of(result) == (
        "error: the weights of the checkpoint do not fit its model `cnn`\n"
        f'error: Missing key(s) in state_dict: "{name}"\nerror: Unexpected key(s) in state_dict: "other"\n\n'
        "hint: use the version of facecls that wrote it, or train again\n"
    )


@pytest.mark.parametrize(("writings", "name"), [(0, "environment.json"), (3, "best.pt")])  # best.pt is written in a thread
def test_a_full_disk_ends_training_with_an_error(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writings: int, name: str
) -> None:
    fsync, calls = os.fsync, [0]

    def fill_up(file: int) -> None:
        calls[0] += 1
        if calls[0] > writings:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr("os.fsync", fill_up)
    result = facecls("train", tiny(), "--out", tmp_path / "run")
    assert result.code == 1 and "Traceback" not in result.err
    assert result.err.endswith(
        f"error: {tmp_path / 'run' / name}: cannot be written: No space left on device\n\nhint: free some disk space\n"
    )
    assert not (tmp_path / "run" / name).exists()


def test_a_run_folder_that_cannot_be_written_to_is_refused(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access  # root may write everywhere, so file permissions cannot be used here
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path / "run" and access(path, mode))
    result = facecls("train", tiny(), "--out", tmp_path / "run")
    assert result.code == 1
    assert result.err.endswith(f"error: {tmp_path / 'run'}: is not writable\n\nhint: name another with --out\n")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def test_pickled_code_is_refused_and_named(facecls: Facecls, tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"format": 1, "classes": Evil()}, path)
    assert error_of(facecls("eval", path)).startswith(
        f"error: {path}: is refused: reading it would run pickled code (`posix.system`)\n\nhint: "
    )


def test_an_empty_data_folder_is_an_error_and_leaves_no_run(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    output = error_of(facecls("train", tiny(data={"root": str(tmp_path / "empty")}), "--out", tmp_path / "run"))
    assert output.startswith(f"error: {tmp_path / 'empty'}: has no class folders\n\nhint: ")
    assert not (tmp_path / "run").exists()


def test_unreadable_images_are_all_listed_and_skipped_on_request(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    root = tmp_path / "faces"
    for person in faces.iterdir():
        (root / person.name).mkdir(parents=True)
        for image in person.iterdir():
            (root / person.name / image.name).symlink_to(image)
    person = sorted(root.iterdir())[0]
    (person / "gone.jpg").symlink_to(person / "nothing")
    (person / "empty.jpg").touch()
    config = tiny(data={"root": str(root)}, split={"by_name": {"val": "^(empty|.*[05])[.]"}})  # one is in val
    output = facecls("train", config, "--out", tmp_path / "run").err
    assert (
        f"error: {person / 'empty.jpg'}: is empty\n" in output and f"error: {person / 'gone.jpg'}: is a broken link\n" in output
    )
    assert output.endswith("\n\nhint: repair or remove them, or skip them with `--set data.on_bad_image=skip`\n")
    result = facecls("train", config, "--out", tmp_path / "run", "--set", "data.on_bad_image=skip", "--set", "train.epochs=1")
    assert result.code == 0 and f"skipped {person / 'empty.jpg'}: is empty" in result.err
    with (tmp_path / "run" / "split.csv").open(newline="") as file:
        skipped = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file) if row["split"] == "skipped"}
    assert skipped.keys() == {"gone.jpg", "empty.jpg"} and skipped["empty.jpg"] == "is empty"


def test_a_run_folder_is_never_overwritten(facecls: Facecls, tiny: Tiny, trained: Path) -> None:
    assert error_of(facecls("train", tiny(), "--out", trained)).endswith(
        f"error: {trained}: already holds a run\n\nhint: continue it with --resume, or name another with --out\n"
    )
