"""Split files: writing, reading, and all their problems at once."""

import ntpath
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.dataset import index_dataset
from facecls.data.listing import SPLITS, ImageList, Paths
from facecls.data.load import load_split
from facecls.data.split_file import read_split_file, write_split_file
from facecls.errors import DataError, ImageError
from facecls.progress import no_progress
from tests.conftest import Noise

HINT = "a split file is a CSV such as the split.csv of a run: path,class,split,reason, with paths below data.root"


def data_error(path: Path, root: Path) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        read_split_file(path, root)
    return caught.value.problems, caught.value.hint


def test_a_written_split_file_can_be_read_after_the_images_have_moved(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=2, bob=1)
    (root / "bob" / 'odd, "name"\n.png').write_bytes(b"")
    labels = np.array([0, 1], np.int32)
    splits = {
        "train": ImageList(Paths.of(root, ["ada/ada0.png", "bob/bob0.png"]), labels),
        "val": ImageList(Paths.of(root / "ada", ["ada1.png", "../bob/" + 'odd, "name"\n.png']), labels),
    }
    path = tmp_path / "split.csv"
    write_split_file(path, splits, ["ada", "bob"], [(ImageError(str(root / "bob/x.png"), "is empty"), "bob")], root)
    assert path.read_text().splitlines()[0] == "path,class,split,reason"
    assert "ada/ada0.png,ada,train," in path.read_text()
    assert path.read_text().splitlines()[-1] == "bob/x.png,bob,skipped,is empty"
    moved = root.rename(tmp_path / "moved")
    classes, read = read_split_file(path, moved)
    assert classes == ("ada", "bob") and list(read) == ["train", "val"]
    assert list(read["train"].paths) == [str(moved / "ada/ada0.png"), str(moved / "bob/bob0.png")]
    assert [image_list.labels.tolist() for image_list in read.values()] == [[0, 1], [0, 1]]


def test_paths_outside_the_root_are_absolute(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=2)
    path = tmp_path / "split.csv"
    images = ImageList(Paths.of(root, ["ada/ada0.png"]), np.zeros(1, np.int32))
    write_split_file(path, {"train": images, "val": images}, ["ada"], [], tmp_path / "b")
    assert f"{root / 'ada' / 'ada0.png'},ada,train," in path.read_text()
    path.write_text(path.read_text().replace("ada0.png,ada,val", "ada1.png,ada,val"))
    assert list(read_split_file(path, tmp_path / "c")[1]["val"].paths) == [str(root / "ada/ada1.png")]


def test_a_split_file_written_on_windows_can_be_read_elsewhere(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = noise(ada=2)
    path = tmp_path / "split.csv"
    label = np.zeros(1, np.int32)
    splits = {
        split: ImageList(Paths.of(root / "ada", [f"ada{number}.png"]), label) for number, split in enumerate(("train", "val"))
    }
    with monkeypatch.context() as patch:
        patch.setattr("facecls.data.split_file.os", SimpleNamespace(path=ntpath))
        splits["test"] = ImageList(Paths.of(root / "ada", ["D:\\x\\1.png"]), label)
        write_split_file(path, splits, ["ada"], [], root)
    rows = path.read_text().splitlines()[1:]
    assert rows == ["ada/ada0.png,ada,train,", "ada/ada1.png,ada,val,", "D:\\x\\1.png,ada,test,"]


def test_classes_are_in_natural_order(noise: Noise, tmp_path: Path) -> None:
    root = noise(s10=2, s2=2)
    rows = [
        f"{name}/{name}{number}.png,{name},{split}" for name in ("s10", "s2") for number, split in enumerate(("train", "val"))
    ]
    (tmp_path / "split.csv").write_text("\n".join(["path,class,split", *rows]))
    assert read_split_file(tmp_path / "split.csv", root)[0] == ("s2", "s10")


def test_a_split_file_saved_by_excel_can_be_read(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=2, bob=2)
    rows = [
        f"{name}/{name}{number}.png,{name},{split}" for name in ("ada", "bob") for number, split in enumerate(("train", "val"))
    ]
    (tmp_path / "split.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["path,class,split", *rows]).encode())
    classes, splits = read_split_file(tmp_path / "split.csv", root)
    assert classes == ("ada", "bob") and list(splits["val"].paths) == [str(root / name / f"{name}1.png") for name in classes]


def test_all_problems_are_listed_with_their_lines(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=2, bob=2)
    path = tmp_path / "split.csv"
    rows = [
        "ada/ada0.png,ada,train",
        "ada/ada0.png,ada,test",
        "bob/bob0.png,bob,test",
        "ada/gone.png,ada,train",
        "x.png,ada,dev",
        ",,",
    ]
    path.write_text("\n".join(["path,class,split", *rows]))
    problems, hint = data_error(path, root)
    assert problems == (
        f"{path}:6: `dev` is not a split; the splits are train, val, test",
        f"{path}:7: path, class or split is empty",
        f"{path}: `ada/ada0.png` is listed 2 times",
        f"{path}: class `bob` has no image in train",
        f"{path}: no image in val",
        f"{path}:5: {root / 'ada/gone.png'}: no such file",
    )
    assert hint == f"relative paths start from {root}; if images were removed on purpose: `--set data.on_bad_image=skip`"


def test_a_missing_image_is_skipped_with_on_bad_image_skip(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=3, bob=3)
    rows = [f"{name}/{name}{number}.png,{name},{split}" for name in ("ada", "bob") for number, split in enumerate(SPLITS)]
    (tmp_path / "split.csv").write_text("\n".join(["path,class,split", *rows]))
    (root / "ada" / "ada1.png").unlink()  # of val
    data = DataConfig(root=root, split_file=tmp_path / "split.csv", image_size=16, on_bad_image="skip")
    dataset = index_dataset(data, SplitConfig())
    split = load_split("val", dataset.splits["val"], dataset.classes, data, no_progress, torch.device("cpu"))
    assert len(split) == 1
    assert [str(error) for error in split.skipped] == [f"{root / 'ada' / 'ada1.png'}: no such file"]


def test_many_missing_files_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("\n".join(["path,class,split", "0,a,val", *(f"{number},a,train" for number in range(1, 30))]))
    problems, _ = data_error(path, tmp_path)
    assert len(problems) == 21 and problems[-1] == "and 10 more problems"


def test_a_file_that_is_not_a_split_file_is_an_error(tmp_path: Path) -> None:
    assert data_error(tmp_path / "gone.csv", tmp_path) == (
        (f"{tmp_path / 'gone.csv'}: no such file",),
        "set `data.split_file` to a CSV such as the split.csv of a run",
    )
    assert data_error(tmp_path, tmp_path) == ((f"{tmp_path}: cannot be read: is a directory",), HINT)
    path = tmp_path / "split.csv"
    path.write_text("path,split\na,train\n")
    assert data_error(path, tmp_path) == ((f"{path}: has no column `class`",), HINT)
    path.write_text("")
    assert data_error(path, tmp_path) == ((f"{path}: has no column `path`, `class`, `split`",), HINT)
