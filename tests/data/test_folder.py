"""FaceFolder: an ImageFolder for folders as people have them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from facecls.data.folder import FaceFolder
from facecls.data.listing import split_folders
from facecls.errors import DataError
from tests.conftest import Noise, write_noise


def refusal(call: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.problems, caught.value.hint


def test_on_a_clean_folder_it_is_what_imagefolder_is(noise: Noise) -> None:
    root = noise(ada=3, bob=2)
    ours, theirs = FaceFolder(root), ImageFolder(root)
    assert list(ours.samples) == theirs.samples and list(ours.imgs) == theirs.imgs
    assert ours.samples == theirs.samples
    assert list(ours.targets) == theirs.targets
    assert ours.classes == theirs.classes and ours.class_to_idx == theirs.class_to_idx
    assert len(ours) == len(theirs) and isinstance(ours, ImageFolder)
    assert all(mine[0].tobytes() == other[0].tobytes() for mine, other in zip(ours, theirs, strict=True))
    assert "5" in repr(ours)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_it_works_where_an_imagefolder_does(noise: Noise, workers: int) -> None:
    as_float = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    folder = FaceFolder(noise(ada=3, bob=2), transform=as_float, target_transform=lambda label: label + 10)
    batches = list(DataLoader(Subset(folder, [0, 4, 2]), batch_size=2, num_workers=workers))
    assert [tuple(images.shape) for images, _ in batches] == [(2, 3, 16, 20), (1, 3, 16, 20)]
    assert torch.cat([labels for _, labels in batches]).tolist() == [10, 11, 10]


def test_samples_read_like_a_list(noise: Noise) -> None:
    samples = FaceFolder(noise(ada=2, bob=1)).samples
    assert samples[-1] == samples[2] and samples[1:] == [samples[1], samples[2]]
    assert samples[0] in samples
    with pytest.raises(IndexError):
        samples[3]


def test_classes_are_in_natural_order(noise: Noise) -> None:
    assert FaceFolder(noise(s10=1, s2=1, s1=1)).classes == ["s1", "s2", "s10"]


def test_what_is_no_class_and_no_image_is_passed_over_and_counted(noise: Noise) -> None:
    root = noise(ada=1, bob=1)
    for name in (".ipynb_checkpoints/a.png", "__MACOSX/ada/._1.png", "ada/.DS_Store", "ada/notes.txt", "README", "x.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    folder = FaceFolder(root)
    assert folder.classes == ["ada", "bob"] and len(folder) == 2
    assert folder.passed_over == {"hidden or system": 3, "not images": 1, "beside the class folders": 2}


def test_images_are_turned_upright(tmp_path: Path) -> None:
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 10)).save(tmp_path / name / "1.jpg", exif=exif)
    assert FaceFolder(tmp_path)[0][0].size == (10, 30)


def test_a_missing_root_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "`facecls demo-faces DIR` draws faces to try things with"
    assert refusal(lambda: FaceFolder(tmp_path / "gone")) == ((f"{tmp_path / 'gone'}: no such folder",), hint)
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: FaceFolder("gone")) == ((f"gone: no such folder below {tmp_path}",), hint)


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "face.png")
    problem = f"{path}: is a file, not a folder of faces"
    assert refusal(lambda: FaceFolder(path)) == ((problem,), "name the folder that holds the class folders")


def test_a_folder_without_classes_is_named(tmp_path: Path) -> None:
    hint = f"put the images of each class in a folder of its own, such as {tmp_path / 'ada' / '1.jpg'}"
    assert refusal(lambda: FaceFolder(tmp_path)) == ((f"{tmp_path}: holds no class folders",), hint)
    write_noise(tmp_path / "face.png")
    assert refusal(lambda: FaceFolder(tmp_path)) == ((f"{tmp_path}: holds images but no class folders",), hint)


def test_all_empty_classes_are_named_at_once(noise: Noise) -> None:
    root = noise(ada=1)
    (root / "bob").mkdir()
    (root / "cyd").mkdir()
    problems = (f"{root / 'bob'}: holds no images", f"{root / 'cyd'}: holds no images")
    assert refusal(lambda: FaceFolder(root)) == (problems, "put images in, or remove the folder: every folder is a class")


def test_parts_go_by_all_their_names(noise: Noise) -> None:
    root = noise(ada=1)
    assert split_folders(root) == {}
    for name in ("train", "valid", "test"):
        (root / name).mkdir()
    assert split_folders(root) == {"train": root / "train", "val": root / "valid", "test": root / "test"}
    (root / "validation").mkdir()
    problem = f"{root}: holds both `valid` and `validation`"
    assert refusal(lambda: split_folders(root)) == ((problem,), "keep one of them")


def test_a_class_called_test_is_a_class_where_there_is_no_train(noise: Noise) -> None:
    root = noise(ada=1, test=1)
    assert split_folders(root) == {} and FaceFolder(root).classes == ["ada", "test"]
