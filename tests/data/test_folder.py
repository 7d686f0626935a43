"""FaceFolder: equal to ImageFolder on clean folders, robust on others; split folders."""

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


def data_error(call: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.problems, caught.value.hint


def test_on_a_clean_folder_it_equals_imagefolder(noise: Noise) -> None:
    root = noise(ada=3, bob=2)
    folder, reference = FaceFolder(root), ImageFolder(root)
    assert list(folder.samples) == reference.samples and list(folder.imgs) == reference.imgs
    assert folder.samples == reference.samples
    assert list(folder.targets) == reference.targets
    assert folder.classes == reference.classes and folder.class_to_idx == reference.class_to_idx
    assert len(folder) == len(reference) and isinstance(folder, ImageFolder)
    assert all(one[0].tobytes() == other[0].tobytes() for one, other in zip(folder, reference, strict=True))
    assert "5" in repr(folder)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_it_works_with_dataloader_subset_and_transforms(noise: Noise, workers: int) -> None:
    as_float = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    folder = FaceFolder(noise(ada=3, bob=2), transform=as_float, target_transform=lambda label: label + 10)
    batches = list(DataLoader(Subset(folder, [0, 4, 2]), batch_size=2, num_workers=workers))
    assert [tuple(images.shape) for images, _ in batches] == [(2, 3, 16, 20), (1, 3, 16, 20)]
    assert torch.cat([labels for _, labels in batches]).tolist() == [10, 11, 10]


def test_samples_behave_like_a_list(noise: Noise) -> None:
    samples = FaceFolder(noise(ada=2, bob=1)).samples
    assert samples[-1] == samples[2] and samples[1:] == [samples[1], samples[2]]
    assert samples[0] in samples
    with pytest.raises(IndexError):
        samples[3]


def test_classes_are_in_natural_order(noise: Noise) -> None:
    assert FaceFolder(noise(s10=1, s2=1, s1=1)).classes == ["s1", "s2", "s10"]


def test_entries_that_are_neither_class_nor_image_are_ignored_and_counted(noise: Noise) -> None:
    root = noise(ada=1, bob=1)
    for name in (".ipynb_checkpoints/a.png", "__MACOSX/ada/._1.png", "ada/.DS_Store", "ada/notes.txt", "README", "x.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    folder = FaceFolder(root)
    assert folder.classes == ["ada", "bob"] and len(folder) == 2
    assert folder.ignored == {"hidden or system": 3, "not an image": 1, "outside the class folders": 2}


def test_images_are_rotated_by_their_exif_orientation(tmp_path: Path) -> None:
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 10)).save(tmp_path / name / "1.jpg", exif=exif)
    assert FaceFolder(tmp_path)[0][0].size == (10, 30)


def test_a_missing_root_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "`facecls demo-faces DIR` draws synthetic faces to try"
    assert data_error(lambda: FaceFolder(tmp_path / "gone")) == ((f"{tmp_path / 'gone'}: no such folder",), hint)
    monkeypatch.chdir(tmp_path)
    assert data_error(lambda: FaceFolder("gone")) == ((f"gone: no such folder in {tmp_path}",), hint)


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "face.png")
    problem = f"{path}: is a file, not a folder"
    assert data_error(lambda: FaceFolder(path)) == ((problem,), "name the folder that contains the class folders")


def test_a_folder_without_classes_is_an_error(tmp_path: Path) -> None:
    hint = f"put the images of each class into its own folder, such as {tmp_path / 'ada' / '1.jpg'}"
    assert data_error(lambda: FaceFolder(tmp_path)) == ((f"{tmp_path}: has no class folders",), hint)
    write_noise(tmp_path / "face.png")
    assert data_error(lambda: FaceFolder(tmp_path)) == ((f"{tmp_path}: has images but no class folders",), hint)


def test_all_empty_classes_are_listed(noise: Noise) -> None:
    root = noise(ada=1)
    (root / "bob").mkdir()
    (root / "cyd").mkdir()
    problems = (f"{root / 'bob'}: contains no images", f"{root / 'cyd'}: contains no images")
    assert data_error(lambda: FaceFolder(root)) == (problems, "add images or remove the folder: every folder is a class")


def test_split_folders_may_have_any_of_their_names(noise: Noise, tmp_path: Path) -> None:
    assert split_folders(noise(ada=1)) == {}
    root = tmp_path / "splits"
    for name in ("train", "valid", "test"):
        (root / name).mkdir(parents=True)
    assert split_folders(root) == {"train": root / "train", "val": root / "valid", "test": root / "test"}
    (root / "validation").mkdir()
    problem = f"{root}: has both `valid` and `validation`"
    assert data_error(lambda: split_folders(root)) == ((problem,), "keep one of them")


def test_a_folder_called_test_is_a_class_if_there_is_no_train(noise: Noise) -> None:
    root = noise(ada=1, test=1)
    assert split_folders(root) == {} and FaceFolder(root).classes == ["ada", "test"]


@pytest.mark.parametrize(
    "names", [("Train", "Val", "Test"), ("TRAIN", "Valid", "TESTING"), ("Training", "Validation", "Testing")]
)
def test_split_folders_are_recognised_in_any_case(noise: Noise, tmp_path: Path, names: tuple[str, ...]) -> None:
    root = tmp_path / "splits"
    for name in names:
        noise(root / name, ada=1, bob=1)
    assert split_folders(root) == dict(zip(("train", "val", "test"), (root / name for name in names), strict=True))


def test_split_folders_without_train_are_an_error(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    for name in ("Test", "val"):
        noise(root / name, ada=1, bob=1)
    problem = f"{root}: has no `train` folder, but `Test`, `val`"
    hint = f"move the images to train on into {root / 'train'}; if all folders are classes, rename these"
    assert data_error(lambda: split_folders(root)) == ((problem,), hint)
    noise(root, ada=1)
    assert data_error(lambda: split_folders(root)) == ((problem,), hint)


def test_other_folders_of_images_beside_split_folders_are_an_error(noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    noise(root / "Train", ada=1, bob=1)
    (root / "labels").mkdir()
    (root / "labels" / "ada.xml").touch()
    assert split_folders(root) == {"train": root / "Train"}
    noise(root, cyd=1)
    assert data_error(lambda: split_folders(root)) == (
        (f"{root}: has split folders (`Train`) and other folders of images (`cyd`)",),
        f"move the other folders elsewhere, or set `data.root` to {root / 'Train'}; "
        "if all folders are classes, rename the first",
    )
