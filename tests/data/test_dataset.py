"""The parts of a data set."""

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


def find(root: Path, split_file: Path | None = None, **split: Any) -> DatasetIndex:
    return index_dataset(DataConfig(root=root, split_file=split_file), SplitConfig(**split))


def refusal(call: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.problems, caught.value.hint


def names(found: DatasetIndex) -> dict[str, list[str]]:
    return {split: [os.path.basename(path) for path in image_list.paths] for split, image_list in found.splits.items()}  # noqa: PTH119


def test_a_folder_of_classes_is_split(noise: Noise) -> None:
    found = find(noise(ada=10, bob=5))
    assert found.classes == ("ada", "bob") and found.notes == []
    assert {split: len(image_list.labels) for split, image_list in found.splits.items()} == {"train": 12, "val": 3}
    assert list(find(noise(), test=0.2).splits) == ["train", "val", "test"]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_part_folders_are_the_parts(noise: Noise, name: str, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    noise(root / "train", ada=3, bob=2)
    noise(root / name, bob=1, ada=1)
    noise(root / "test", ada=2)
    found = find(root)
    assert names(found) == {
        "train": ["ada0.png", "ada1.png", "ada2.png", "bob0.png", "bob1.png"],
        "val": ["ada0.png", "bob0.png"],
        "test": ["ada0.png", "ada1.png"],
    }
    assert found.splits["val"].labels.tolist() == [0, 1]
    assert found.notes == [f"{root / 'test'}: has no images of `bob`"]


def sizes(found: DatasetIndex) -> dict[str, int]:
    return {split: len(image_list.labels) for split, image_list in found.splits.items()}


def test_without_a_val_folder_train_is_split_and_test_is_left_alone(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    noise(root / "train", ada=10, bob=10)
    noise(root / "test", ada=2)
    assert sizes(find(root)) == {"train": 16, "val": 4, "test": 2}


def test_without_a_test_folder_train_is_split_and_val_is_left_alone(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    noise(root / "train", ada=10, bob=10)
    noise(root / "val", ada=2, bob=1)
    assert sizes(find(root)) == {"train": 20, "val": 3}
    assert sizes(find(root, val=0)) == {"train": 20, "val": 3}
    assert sizes(find(root, test=0.2)) == {"train": 16, "val": 3, "test": 4}
    assert names(find(root, by_name={"test": "[ab]..[0-2]"}))["test"] == [
        f"{who}{n}.png" for who in ("ada", "bob") for n in range(3)
    ]


def test_classes_that_train_lacks_are_named(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    noise(root / "train", ada=2, bob=2)
    noise(root / "val", ada=1, cyd=1, dan=1)
    problems, hint = refusal(lambda: find(root))
    assert problems == tuple(f"{root / 'val' / name}: is a class that training does not have" for name in ("cyd", "dan"))
    assert hint == "the classes of training are `ada`, `bob`"


def test_what_was_passed_over_is_said(noise: Noise) -> None:
    root = noise(ada=4, bob=4)
    (root / "README").touch()
    (root / ".git").mkdir()
    (root / "ada" / "notes.txt").touch()
    assert find(root).notes == [f"{root}: passed over 1 beside the class folders, 1 hidden or system, 1 not images"]


def test_one_class_is_too_few(noise: Noise) -> None:
    root = noise(ada=4)
    problem = f"{root}: holds one class (`ada`), a classifier needs at least two"
    assert refusal(lambda: find(root)) == ((problem,), "give every class a folder of its own")


def test_nothing_held_out_is_an_error(noise: Noise) -> None:
    root = noise(ada=4, bob=4)
    problem = "split.val: is 0, which leaves nothing to choose the best epoch by"
    assert refusal(lambda: find(root, val=0)) == ((problem,), "hold some out: split.val=0.2")


def test_folders_and_config_do_not_both_say_what_a_part_is(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    for split in ("train", "val", "test"):
        noise(root / split, ada=2, bob=2)
    hint = f"leave the key out, or set data.root to {root / 'train'}"
    assert refusal(lambda: find(root, folds=2)) == ((f"split.folds: {root / 'val'} is val already",), hint)
    assert refusal(lambda: find(root, test=0.1)) == ((f"split.test: {root / 'test'} is test already",), hint)
    problems, _ = refusal(lambda: find(root, by_name={"val": "0", "test": "1"}))
    assert problems == (
        f"split.by_name.val: {root / 'val'} is val already",
        f"split.by_name.test: {root / 'test'} is test already",
    )


def test_groups_by_name_stay_together_and_are_counted(noise: Noise) -> None:
    root = noise(ada=0)
    for name in ("ada", "bob"):
        for burst in range(5):
            for number in range(3):
                write_noise(root / name / f"{name}_b{burst}_{number}.png")
        write_noise(root / name / "single.png")
    found = find(root, group="name", pattern=r"^\w+_b\d+")
    assert found.notes == [f"{root}: 30 images stay together in 10 groups (name)"]
    bursts = [{name[:6] for name in members} for members in names(found).values()]
    assert not bursts[0] & bursts[1]


def test_a_class_that_val_lacks_is_said(noise: Noise) -> None:
    root = noise(ada=4, bob=4)
    assert find(root, by_name={"val": "^ada0"}).notes == ["val: has no images of `bob`"]


@pytest.fixture
def run_config(faces: Path, tiny: Callable[..., Path]) -> Callable[..., Config]:
    def make(*overrides: str) -> Config:
        path = tiny(data={"root": str(faces), "image_size": 16}, split={"val": 0.5, "test": 0.2, "group": "none"})
        return load_config(path, ["train.epochs=1", *overrides])

    return make


def test_a_run_s_split_is_trained_on_as_it_is_from_wherever_the_images_lie(
    run_config: Callable[..., Config], faces: Path, tmp_path: Path
) -> None:
    train(run_config(), Run(tmp_path / "one"), Progress(), resume=False)
    manifest = tmp_path / "one" / "split.csv"
    (tmp_path / "moved").symlink_to(faces)
    overrides = (f"data.split_file={manifest}", f"data.root={tmp_path / 'moved'}", "split.seed=7", "split.val=0.1")
    train(run_config(*overrides), Run(tmp_path / "two"), Progress(), resume=False)
    assert (tmp_path / "two" / "split.csv").read_text() == manifest.read_text()
    assert f"{next(faces.iterdir()).name}/" in manifest.read_text()
    assert {line.split(",")[2] for line in manifest.read_text().splitlines()} == {"split", "train", "val", "test"}


def test_a_split_file_needs_two_classes(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=2)
    path = tmp_path / "split.csv"
    path.write_text("path,class,split\nada/ada0.png,ada,train\nada/ada1.png,ada,val\n")
    problems, _ = refusal(lambda: find(root, path))
    assert problems == (f"{path}: holds one class (`ada`), a classifier needs at least two",)


@pytest.mark.parametrize("balance", ["sampler", "loss"])
def test_a_balanced_run_ends_elsewhere_than_a_plain_one(
    run_config: Callable[..., Config], tmp_path: Path, balance: str, faces: Path
) -> None:
    held = [path for folder in sorted(faces.iterdir()) for path in sorted(folder.iterdir())]
    rows = ["path,class,split"]
    for number, path in enumerate(held):
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


def test_mistakes_of_the_split_are_named(tmp_path: Path) -> None:
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


def test_a_run_that_goes_on_keeps_its_split_when_images_are_added(
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
    whole = Run(tmp_path / "whole")  # with one step an epoch, a schedule of two epochs begins like one of one
    train(run_config("train.epochs=2"), whole, Progress(), resume=False)
    ends = [torch.load(each.last, weights_only=True)["training"]["model"] for each in (run, whole)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_copies_of_a_photograph_stay_together_unless_they_may_part(faces: Path, tmp_path: Path) -> None:
    root = tmp_path / "copied"
    shutil.copytree(faces, root)
    for folder in sorted(root.iterdir()):
        for number, original in enumerate(sorted(folder.iterdir())[:3]):
            image = open_image(original)
            image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(folder / f"copy{number}.jpg", quality=80)
            shutil.copy(original, folder / f"again{number}{original.suffix}")
    notes = find(root, val=0.4).notes
    assert notes == [f"{root}: 36 images stay together in 12 groups (near_duplicates)"]

    def leaks(found: DatasetIndex) -> int:
        groups = near_duplicate_groups([path for image_list in found.splits.values() for path in image_list.paths])
        train = len(found.splits["train"].labels)
        return len(set(groups[:train]) & set(groups[train:]))

    assert leaks(find(root, val=0.4)) == 0
    assert leaks(find(root, val=0.4, group="none")) > 0
