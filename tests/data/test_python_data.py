"""Training images given in Python: pairs, datasets, data frames."""

import csv
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset, Subset

import facecls
from facecls.data.python_data import write_images
from facecls.errors import DataError, RunError
from facecls.faces.decode import open_image
from facecls.progress import SilentProgress

CONFIG = {"device": "cpu", "precision": "fp32", "data.image_size": 32, "model.name": "cnn", "train.epochs": 1}


def paths_of(faces: Path) -> list[tuple[str, str]]:
    return [(str(path), path.parent.name) for path in sorted(faces.rglob("*.*"))]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_on_pairs_equals_that_on_the_folder(faces: Path, tmp_path: Path) -> None:
    by_folder = facecls.train(CONFIG | {"data.root": faces}, out=tmp_path / "folder")
    by_pairs = facecls.train(CONFIG, paths_of(faces), out=tmp_path / "pairs")
    assert by_folder is not None and by_pairs is not None
    one, two = (facecls.evaluate(run.folder).to_plain() for run in (by_folder, by_pairs))
    assert one["accuracy"] == two["accuracy"] and one["loss"] == pytest.approx(two["loss"], rel=1e-6)


class Pixels(Dataset[Any]):
    """Map-style, as of torchvision: it never raises IndexError."""

    classes = ("ada", "bob")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Any, int]:
        pixels = np.random.default_rng(index).integers(0, 256, (40, 36, 3), np.uint8)
        return (Image.fromarray(pixels) if index % 3 else pixels), index % 2


def test_a_dataset_is_written_losslessly_with_its_class_names(tmp_path: Path) -> None:
    data = Pixels()
    write_images(Subset(data, [3, 0, 4]), tmp_path / "labels.csv", SilentProgress())
    rows = rows_of(tmp_path / "labels.csv")
    assert [row["label"] for row in rows] == ["bob", "ada", "ada"]
    for row, index in zip(rows, (3, 0, 4), strict=True):
        written = np.asarray(open_image(tmp_path / row["path"]))
        assert (written == np.asarray(data[index][0])).all()


def test_a_run_from_a_dataset_is_evaluated_and_resumed_from_its_directory(tmp_path: Path) -> None:
    run = facecls.train(CONFIG | {"split.group": "none", "split.val": 0.34}, Pixels(), out=tmp_path / "run")
    assert run is not None
    assert facecls.load(run.folder).classes == ("ada", "bob")
    assert facecls.evaluate(run.folder).to_plain()["n"] == 4
    longer = CONFIG | {"split.group": "none", "split.val": 0.34, "train.epochs": 2}
    resumed = facecls.train(longer, [], out=tmp_path / "run", resume=True)  # the images are in the directory
    assert resumed is not None and resumed.best.epoch in (0, 1)
    with pytest.raises(RunError, match="already holds a run"):
        facecls.train(CONFIG, Pixels(), out=tmp_path / "run")


def test_bytes_and_file_objects_are_written_as_they_are(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, "JPEG")
    content = buffer.getvalue()
    write_images([(content, "a"), (io.BytesIO(content), 7), (b"none", "a")], tmp_path / "labels.csv", SilentProgress())
    rows = rows_of(tmp_path / "labels.csv")
    assert [(row["path"], row["label"]) for row in rows] == [
        ("images/000000.jpeg", "a"),
        ("images/000001.jpeg", "7"),
        ("images/000002.image", "a"),
    ]
    assert (tmp_path / rows[1]["path"]).read_bytes() == content


def test_a_data_frame_may_name_splits_and_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    frame = pandas.DataFrame({"path": ["a.jpg", "b.jpg"], "label": [1, 2], "split": ["train", None]})
    write_images(frame, tmp_path / "data" / "labels.csv", SilentProgress())
    rows = rows_of(tmp_path / "data" / "labels.csv")
    assert rows == [
        {"path": os.path.abspath("a.jpg"), "label": "1", "split": "train"},  # noqa: PTH100
        {"path": os.path.abspath("b.jpg"), "label": "2", "split": ""},  # noqa: PTH100
    ]
    with pytest.raises(DataError) as raised:
        write_images(frame.rename(columns={"label": "name"}), tmp_path / "labels.csv", SilentProgress())
    assert (str(raised.value), raised.value.hint) == (
        "data: has no column `label`\ndata: has a column `name`",
        "give the columns path and label, and if needed split and group, and no others",
    )


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("a.jpg", "data[1]: is not a pair of image and label"),
        (("a.jpg", None), "data[1]: its label is None"),
        (("a.jpg", 1.5), "data[1]: its label is 1.5"),
        ((5, "a"), "data[1]: its image is of type int"),
        ((np.zeros((3, 3)), "a"), "data[1]: is an array of float64 (3, 3), not of uint8 (H, W, 3)"),
        ((SimpleNamespace(), "a"), "data[1]: its image is of type SimpleNamespace"),
    ],
)
def test_an_item_that_is_no_labelled_image_is_named(tmp_path: Path, item: Any, problem: str) -> None:
    with pytest.raises(DataError) as raised:
        write_images([("b.jpg", "b"), item], tmp_path / "labels.csv", SilentProgress())
    assert str(raised.value) == problem
    assert not (tmp_path / "labels.csv").exists()


def test_all_functions_take_images_given_in_python_and_name_their_items(faces: Path, tmp_path: Path) -> None:
    pairs = paths_of(faces)
    run = facecls.train(CONFIG, pairs, out=tmp_path / "run")
    assert run is not None
    assert facecls.evaluate(run, pairs[:20]).to_plain()["n"] == 20
    arrays = [(np.asarray(open_image(path)), label) for path, label in pairs]
    assert facecls.evaluate(run, arrays).to_plain()["accuracy"] == facecls.evaluate(run, pairs).to_plain()["accuracy"]
    assert facecls.check_config(CONFIG, pairs).dataset.classes == facecls.load(run).classes
    validation = facecls.cross_validate(CONFIG, pairs, folds=2, out=tmp_path / "folds")
    assert sum(fold.n for fold in validation.folds) == len(pairs)
    again = facecls.cross_validate(CONFIG, pairs, folds=2, out=tmp_path / "folds", resume=True)
    assert again.spread("accuracy") == validation.spread("accuracy")
    (test,) = facecls.compare([run, validation.folds[0].run.folder], data=pairs).tests
    assert test.n == len(pairs)
    with pytest.raises(DataError) as raised:
        facecls.train(CONFIG, [*pairs, ("none.jpg", "ari")], out=tmp_path / "missing")
    assert str(raised.value) == f"data[48]: {Path('none.jpg').absolute()}: no such file"
    assert raised.value.hint == (
        "images are pairs of image and label, or a data frame with the columns path and label, and if needed split and group"
    )
    with pytest.raises(DataError) as raised:
        facecls.train(CONFIG, [pair for pair in pairs if pair[1] == "ari"], out=tmp_path / "one")
    assert str(raised.value) == "data: has only one class (`ari`), a classifier needs at least two"
    with pytest.raises(TypeError, match="images are given one by one or in a list, not in a dict"):
        facecls.load(run).predict(dict(pairs))


def test_images_given_in_python_are_for_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DataError) as raised:
        facecls.train(CONFIG, Pixels(), out=tmp_path / "run")
    assert str(raised.value) == "data: images given in Python are for one process"
    assert raised.value.hint == "with torchrun use `data.root` or `data.csv`" and not (tmp_path / "run").exists()
