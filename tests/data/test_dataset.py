"""Indexing a data root: split folders, split files, and splitting one folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from facecls.config.load import load_config
from facecls.config.schema import Config, DataConfig, SplitConfig
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.duplicates.match import near_duplicate_groups
from facecls.errors import ConfigError, DataError
from facecls.faces.decode import open_image
from facecls.progress import Progress
from facecls.run import Run
from facecls.training.train import train
from tests.conftest import Noise, write_noise


def index(root: Path, split_file: Path | None = None, **split: Any) -> DatasetIndex:
    return index_dataset(DataConfig(root=root, split_file=split_file), SplitConfig(**split))


def data_error(call: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.problems, caught.value.hint


def names(dataset: DatasetIndex) -> dict[str, list[str]]:
    return {split: [os.path.basename(path) for path in image_list.paths] for split, image_list in dataset.splits.items()}  # noqa: PTH119


def test_a_folder_of_classes_is_split(noise: Noise) -> None:
    dataset = index(noise(ada=10, bob=5))
    assert dataset.classes == ("ada", "bob") and dataset.notes == []
    assert {split: len(image_list.labels) for split, image_list in dataset.splits.items()} == {"train": 12, "val": 3}
    assert list(index(noise(), test=0.2).splits) == ["train", "val", "test"]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_split_folders_are_the_splits(noise: Noise, name: str, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    noise(root / "train", ada=3, bob=2)
    noise(root / name, bob=1, ada=1)
    noise(root / "test", ada=2)
    dataset = index(root)
    assert names(dataset) == {
        "train": ["ada0.png", "ada1.png", "ada2.png", "bob0.png", "bob1.png"],
        "val": ["ada0.png", "bob0.png"],
        "test": ["ada0.png", "ada1.png"],
    }
    assert dataset.splits["val"].labels.tolist() == [0, 1]
    assert dataset.notes == [f"{root / 'test'}: has no images of `bob`"]


def sizes(dataset: DatasetIndex) -> dict[str, int]:
    return {split: len(image_list.labels) for split, image_list in dataset.splits.items()}


def test_without_a_val_folder_train_is_split_and_test_is_unchanged(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    noise(root / "train", ada=10, bob=10)
    noise(root / "test", ada=2)
    assert sizes(index(root)) == {"train": 16, "val": 4, "test": 2}


def test_without_a_test_folder_train_is_split_and_val_is_unchanged(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    noise(root / "train", ada=10, bob=10)
    noise(root / "val", ada=2, bob=1)
    assert sizes(index(root)) == {"train": 20, "val": 3}
    assert sizes(index(root, val=0)) == {"train": 20, "val": 3}
    assert sizes(index(root, test=0.2)) == {"train": 16, "val": 3, "test": 4}
    assert names(index(root, by_name={"test": "[ab]..[0-2]"}))["test"] == [
        f"{who}{n}.png" for who in ("ada", "bob") for n in range(3)
    ]


def test_classes_that_train_lacks_are_listed(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    noise(root / "train", ada=2, bob=2)
    noise(root / "val", ada=1, cyd=1, dan=1)
    problems, hint = data_error(lambda: index(root))
    assert problems == tuple(f"{root / 'val' / name}: is not a class of the training data" for name in ("cyd", "dan"))
    assert hint == "the classes of the training data are `ada`, `bob`"


def test_ignored_files_are_reported(noise: Noise) -> None:
    root = noise(ada=4, bob=4)
    (root / "README").touch()
    (root / ".git").mkdir()
    (root / "ada" / "notes.txt").touch()
    assert index(root).notes == [
        f"{root}: ignored files and folders: 1 hidden or system, 1 not an image, 1 outside the class folders"
    ]


def test_a_single_class_is_an_error(noise: Noise) -> None:
    root = noise(ada=4)
    problem = f"{root}: has only one class (`ada`), a classifier needs at least two"
    assert data_error(lambda: index(root)) == ((problem,), "put the images of each class into its own folder")


def test_no_validation_images_is_an_error(noise: Noise) -> None:
    root = noise(ada=4, bob=4)
    problem = "split.val: is 0, but the best epoch is chosen by validation images"
    assert data_error(lambda: index(root, val=0)) == ((problem,), "set `split.val=0.2`")


def test_a_split_cannot_be_defined_by_both_a_folder_and_the_config(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    for split in ("train", "val", "test"):
        noise(root / split, ada=2, bob=2)
    hint = f"remove the key, or set `data.root` to {root / 'train'}"
    assert data_error(lambda: index(root, folds=2)) == ((f"split.folds: {root / 'val'} already is val",), hint)
    assert data_error(lambda: index(root, test=0.1)) == ((f"split.test: {root / 'test'} already is test",), hint)
    problems, _ = data_error(lambda: index(root, by_name={"val": "0", "test": "1"}))
    assert problems == (
        f"split.by_name.val: {root / 'val'} already is val",
        f"split.by_name.test: {root / 'test'} already is test",
    )


def test_groups_by_name_stay_together_and_are_reported(noise: Noise) -> None:
    root = noise(ada=0)
    for name in ("ada", "bob"):
        for burst in range(5):
            for number in range(3):
                write_noise(root / name / f"{name}_b{burst}_{number}.png")
        write_noise(root / name / "single.png")
    dataset = index(root, group="name", pattern=r"^\w+_b\d+")
    assert dataset.notes == [f"{root}: 30 images in 10 groups (split.group: name); each group stays in one split"]
    bursts = [{name[:6] for name in members} for members in names(dataset).values()]
    assert not bursts[0] & bursts[1]


def test_a_class_that_val_lacks_is_reported(noise: Noise) -> None:
    root = noise(ada=4, bob=4)
    assert index(root, by_name={"val": "^ada0"}).notes == ["val: has no images of `bob`"]


@pytest.fixture
def run_config(faces: Path, tiny: Callable[..., Path]) -> Callable[..., Config]:
    def make(*overrides: str) -> Config:
        path = tiny(data={"root": str(faces), "image_size": 16}, split={"val": 0.5, "test": 0.2, "group": "none"})
        return load_config(path, ["train.epochs=1", *overrides])

    return make


def test_the_split_file_of_a_run_is_reused_after_the_images_have_moved(
    run_config: Callable[..., Config], faces: Path, tmp_path: Path
) -> None:
    train(run_config(), Run(tmp_path / "one"), Progress(), resume=False)
    split_file = tmp_path / "one" / "split.csv"
    (tmp_path / "moved").symlink_to(faces)
    overrides = (f"data.split_file={split_file}", f"data.root={tmp_path / 'moved'}", "split.seed=7", "split.val=0.1")
    train(run_config(*overrides), Run(tmp_path / "two"), Progress(), resume=False)
    assert (tmp_path / "two" / "split.csv").read_text() == split_file.read_text()
    assert f"{next(faces.iterdir()).name}/" in split_file.read_text()
    assert {line.split(",")[2] for line in split_file.read_text().splitlines()} == {"split", "train", "val", "test"}


def test_a_split_file_needs_two_classes(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=2)
    path = tmp_path / "split.csv"
    path.write_text("path,class,split\nada/ada0.png,ada,train\nada/ada1.png,ada,val\n")
    problems, _ = data_error(lambda: index(root, path))
    assert problems == (f"{path}: has only one class (`ada`), a classifier needs at least two",)


@pytest.mark.parametrize("balance", ["sampler", "loss"])
def test_balance_changes_the_result_of_a_run(
    run_config: Callable[..., Config], tmp_path: Path, balance: str, faces: Path
) -> None:
    images = [path for folder in sorted(faces.iterdir()) for path in sorted(folder.iterdir())]
    rows = ["path,class,split"]
    for number, path in enumerate(images):
        rows.append(f"{path},{path.parent.name},{'val' if number % 3 == 0 else 'train'}")
    few = [row for number, row in enumerate(rows) if "train" not in row or number < 20 or number % 4 == 0]
    (tmp_path / "split.csv").write_text("\n".join(few))
    losses = []
    for name in ("none", balance):
        config = run_config(f"data.split_file={tmp_path / 'split.csv'}", f"data.balance={name}")
        result = train(config, Run(tmp_path / name), Progress(), resume=False)
        assert result is not None
        losses.append(result.best.val_loss)
    assert losses[0] != losses[1]


def test_invalid_split_sections_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text, problem in (
        ("{group: name}", "`group: name` and `pattern` need each other"),
        ("{group: none, pattern: x}", "`group: name` and `pattern` need each other"),
        ("{fold: 2}", "`fold: 2` needs `folds`, the number of folds"),
        ("{folds: 3, fold: 3}", "`fold: 3` must be less than `folds: 3`, they are counted from 0"),
        ("{folds: 3, by_name: {val: x}}", "`folds` and `by_name.val` both define the val split, remove one"),
    ):
        path.write_text(f"data: {{root: x}}\nsplit: {text}\n")
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert caught.value.problems == (f"{path}:2: split: {problem}",)
    path.write_text("data: {root: x}\nsplit: {group: name, pattern: '(', by_name: {val: '['}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems == (
        f"{path}:2: split.pattern: not a regular expression: missing ), unterminated subpattern at position 0",
        f"{path}:2: split.by_name: not a regular expression: unterminated character set at position 0",
    )


def test_a_resumed_run_keeps_its_split_when_images_are_added(
    run_config: Callable[..., Config], faces: Path, tmp_path: Path
) -> None:
    root = tmp_path / "growing"
    shutil.copytree(faces, root)
    run = Run(tmp_path / "run")
    train(run_config(f"data.root={root}"), run, Progress(), resume=False)
    before = run.split.read_text()
    for folder in sorted(root.iterdir()):
        write_noise(folder / "0000.png")
    result = train(run_config(f"data.root={root}", "train.epochs=2"), run, Progress(), resume=True)
    assert result is not None and run.split.read_text() == before
    assert len(run.rows()) == 2
    uninterrupted = Run(tmp_path / "uninterrupted")  # with one step per epoch, schedules of one and two epochs start alike
    train(run_config("train.epochs=2"), uninterrupted, Progress(), resume=False)
    ends = [torch.load(each.last, weights_only=True)["training"]["model"] for each in (run, uninterrupted)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_near_duplicates_stay_together_unless_group_is_none(faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "copied"
    shutil.copytree(faces, root)
    for folder in sorted(root.iterdir()):
        for number, original in enumerate(sorted(folder.iterdir())[:3]):
            image = open_image(original)
            image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(folder / f"copy{number}.jpg", quality=80)
            shutil.copy(original, folder / f"again{number}{original.suffix}")
    notes = index(root, val=0.4).notes
    assert notes == [f"{root}: 36 images in 12 groups (split.group: near_duplicates); each group stays in one split"]

    def leaks(dataset: DatasetIndex) -> int:
        groups = near_duplicate_groups([path for image_list in dataset.splits.values() for path in image_list.paths])
        train = len(dataset.splits["train"].labels)
        return len(set(groups[:train]) & set(groups[train:]))

    assert leaks(index(root, val=0.4)) == 0
    assert leaks(index(root, val=0.4, group="none")) > 0


def test_groups_of_classes_are_an_error_unless_their_images_are_to_be_pooled(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "groups"
    noise(root / "groupA", s1=4, s2=4)
    noise(root / "groupB", s3=4)
    assert data_error(lambda: index(root)) == (
        (f"{root}: its folders hold only folders, which hold the images (`groupA/s1`, `groupB/s3`)",),
        f"if the inner folders are the classes, move them into {root}; "
        "if the outer ones (`groupA`, `groupB`) are, set `data.subfolders: pool`",
    )
    pooled = index_dataset(DataConfig(root=root, subfolders="pool"), SplitConfig())
    assert pooled.classes == ("groupA", "groupB")


def test_subfolders_of_a_class_are_no_error_if_another_class_holds_images(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "sessions"
    noise(root / "ada", day1=4, day2=4)
    noise(root, bob=8)
    assert index(root).classes == ("ada", "bob")
