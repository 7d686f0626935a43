"""A CSV of path and label as the data: what is read, how it is split, and what is refused."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facecls.checkpoint import read
from facecls.config.load import load_config
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.label_file import read_label_file
from facecls.errors import DataError
from tests.conftest import Noise, Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def index(path: Path, *overrides: str) -> DatasetIndex:
    config = path.with_name("config.yaml")
    config.write_text(f"data: {{csv: {path}}}\n")
    loaded = load_config(config, ["split.group=none", *overrides])
    return index_dataset(loaded.data, loaded.split)


def names(found: DatasetIndex) -> dict[str, list[str]]:
    return {
        split: [image_list.paths.name(number) for number in range(len(image_list))]
        for split, image_list in found.splits.items()
    }


def test_labels_are_classes_wherever_the_files_are(noise: Noise, tmp_path: Path) -> None:
    root = noise(tmp_path / "images", one=4, two=4)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in root.rglob("*.*"))
    labels = ["10", "2", "2", "10", "2", "10", "10", "2"]
    path = write(tmp_path, "path,label\n" + "".join(f"{file},{label}\n" for file, label in zip(files, labels, strict=True)))
    found = read_label_file(path, tmp_path)
    assert found.classes == ("2", "10") and found.splits is None and found.groups is None
    assert [found.classes[label] for label in found.image_list.labels] == labels
    assert [found.image_list.paths[number] for number in range(8)] == [str(tmp_path / file) for file in files]
    indexed = index(path, "split.val=0.25")
    assert {split: np.bincount(image_list.labels).tolist() for split, image_list in indexed.splits.items()} == {
        "train": [3, 3],
        "val": [1, 1],
    }


def test_the_columns_split_and_group_are_followed(noise: Noise, tmp_path: Path) -> None:
    noise(tmp_path, a=6, b=6)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.suffix != ".csv")
    rows = [(file, file[0], "test" if number % 6 == 5 else "train", f"g{number // 2}") for number, file in enumerate(files)]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
    found = index(tmp_path / "labels.csv", "split.val=0.4")
    got = names(found)
    assert got["test"] == [row[0] for row in rows if row[2] == "test"] and len(got["val"]) >= 2
    groups = {split: {row[3] for row in rows if row[0] in members} for split, members in got.items()}
    assert not groups["train"] & groups["val"]
    assert "(column group); each group stays in one split" in found.notes[0]
    problem = f"split.test: {tmp_path / 'labels.csv'}: its column `split` names test"
    with pytest.raises(DataError) as raised:
        index(tmp_path / "labels.csv", "split.test=0.2")
    assert (raised.value.problems, raised.value.hint) == ((problem,), "remove the column or the key")


def test_all_mistakes_of_a_label_file_are_listed(noise: Noise, tmp_path: Path) -> None:
    noise(tmp_path, a=4)
    one, two, three, four = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "a").iterdir())
    path = write(
        tmp_path,
        f"path,label,split\n{one},ada,train\n{one},bob,train\n{two},ada,train\n{two},ada,train\n"
        f"gone.jpg,ada,train\n{three},,train\n{four},ada,dev\nnone.jpg,ada,train,more\n",
    )
    with pytest.raises(DataError) as raised:
        read_label_file(path, tmp_path)
    assert raised.value.problems == (
        f"{path}:6: {tmp_path}/gone.jpg: no such file",
        f"{path}:7: label is empty",
        f"{path}:8: `dev` is not a split; the splits are train, val, test",
        f"{path}:9: has more values than columns",
        f"{path}:9: {tmp_path}/none.jpg: no such file",
        f"{path}: `{one}` has the labels `ada`, `bob`",
        f"{path}: `{two}` is listed 2 times",
    )
    assert raised.value.hint == (
        "a label file is a CSV with the columns `path`, `label`, and if needed `split`, `group`; "
        f"relative paths start from {tmp_path}"
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("path,class\na,b\n", ["{path}: has no column `label`", "{path}: `class` is not a column"]),
        ("", ["{path}: has no column `path`", "{path}: has no column `label`"]),
        ("path,label\n", ["{path}: lists no images"]),
        ("path,label\nlabels.csv,a\n", ["{path}: has only one class (`a`), a classifier needs at least two"]),
        ("path,label,split\nlabels.csv,a,train\nconfig.yaml,b,val\n", ["{path}: class `b` has no image in train"]),
        ("path,label,split\nlabels.csv,a,val\nconfig.yaml,b,val\n", ["{path}: no image in train"]),
    ],
)
def test_a_label_file_without_what_is_needed_is_an_error(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as raised:
        index(path)
    assert list(raised.value.problems) == [problem.format(path=path) for problem in problems]


def test_a_missing_label_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: no such file") as raised:
        index(tmp_path / "labels.csv")
    assert raised.value.hint == "set `data.csv` to a CSV file; a relative path starts from the working directory"


def test_a_label_file_trains_what_the_same_folders_train(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    paths = sorted(path.relative_to(faces).as_posix() for path in faces.rglob("*.*"))
    rows = [("path", "label"), *((path, path.partition("/")[0]) for path in paths)]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    data = {"csv": str(tmp_path / "labels.csv"), "root": str(faces)}
    assert facecls("train", tiny(data=data), "--out", tmp_path / "csv").code == 0
    assert facecls("train", tiny(), "--out", tmp_path / "folders").code == 0
    one, two = read(tmp_path / "csv"), read(tmp_path / "folders")
    assert one.classes == two.classes
    assert (tmp_path / "csv" / "split.csv").read_text() == (tmp_path / "folders" / "split.csv").read_text()
    assert all((one.weights[name] == two.weights[name]).all() for name in one.weights)
    longer = tiny(data=data, train={"epochs": 3})
    assert "resuming at epoch 3" in facecls("train", longer, "--out", tmp_path / "csv", "--resume").err
    plain = json.loads(facecls("eval", tmp_path / "csv", "--format", "json").out)
    assert plain["n"] == len(one.classes) * 2 and facecls("check", longer).code == 0
    shutil.copy(tmp_path / "csv" / "best.pt", tmp_path / "alone.pt")
    assert json.loads(facecls("eval", tmp_path / "alone.pt", "--format", "json").out)["n"] == plain["n"]
    (tmp_path / "labels.csv").write_text("path,label\nnone.jpg,a\n")
    assert "none.jpg: no such file" in facecls("check", longer).err
