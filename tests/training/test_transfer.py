"""Beginning with weights from elsewhere, and leaving some as they are."""

import sys
from collections.abc import Callable, Iterator
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch

from facecls.checkpoint import read_plain
from facecls.config.load import load_config
from facecls.errors import CheckpointError, ConfigError, InstallError, ModelError
from facecls.progress import Progress
from facecls.run import Run
from facecls.synthetic.write import write_faces
from facecls.training.train import train

Tiny = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """torch's cache of downloads, with torchvision's resnet18 in it under its right name, and no network."""
    import torchvision

    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18().state_dict(), folder / url.rpartition("/")[2])
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    yield folder
    torch.hub.set_dir(before)


def start(config: Path, folder: Path, *overrides: str) -> dict[str, torch.Tensor]:
    """The weights of a run after one epoch."""
    train(load_config(config, overrides), Run(folder), Progress(), resume=False)
    weights: dict[str, torch.Tensor] = read_plain(folder / "last.pt")["training"]["model"]
    return weights


def test_imagenet_weights_from_the_cache_fill_our_resnet18_and_stay_where_frozen(
    tiny: Tiny, tmp_path: Path, hub: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tiny(model={"name": "resnet18", "pretrained": "imagenet", "freeze": 2}, train={"epochs": 1})
    trained = start(config, tmp_path / "run")
    theirs = torch.load(next(hub.iterdir()))
    same = {name for name, tensor in theirs.items() if torch.equal(trained.get(f"backbone.{name}", torch.empty(0)), tensor)}
    frozen = {name for name in theirs if name.startswith(("conv1", "bn1", "layer1"))}
    assert frozen <= same
    assert not any(name.startswith(("layer2", "layer4")) for name in same)
    assert "initial weights: ImageNet, with a new head" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (URLError("no network"), "<urlopen error no network>"),
        (IncompleteRead(b"half", 4), "IncompleteRead(4 bytes read, 4 more expected)"),
        (RuntimeError('invalid hash value (expected "f3", got "0a")'), 'invalid hash value (expected "f3", got "0a")'),
    ],
)
def test_weights_that_cannot_be_fetched_are_an_error_with_a_way_out(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Path, error: Exception, output: str
) -> None:
    (file,) = hub.iterdir()
    file.unlink()

    def unreachable(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    with pytest.raises(InstallError) as raised:
        start(tiny(model={"name": "resnet18", "pretrained": "imagenet"}), tmp_path / "run")
    assert str(raised.value) == f"model.pretrained: the ImageNet weights of `resnet18` cannot be downloaded: {output}"
    assert raised.value.hint == f"put {file.name} into {hub} by hand, or train with model.pretrained=none"


@pytest.mark.parametrize("held", [b"", b"<html>not found</html>", b"PK\3\4 the first half of it"])
def test_a_damaged_file_in_the_cache_is_named(tiny: Tiny, tmp_path: Path, hub: Path, held: bytes) -> None:
    (file,) = hub.iterdir()
    file.write_bytes(held)
    with pytest.raises(InstallError) as raised:
        start(tiny(model={"name": "resnet18", "pretrained": "imagenet"}), tmp_path / "run")
    assert str(raised.value).startswith(f"model.pretrained: {file}: cannot be read: ")
    assert "\n" not in str(raised.value)
    assert raised.value.hint == "delete it, and it is downloaded again"


def test_another_run_with_other_classes_lends_its_backbone(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = start(tiny(train={"epochs": 1}), tmp_path / "first")
    for _ in write_faces(tmp_path / "others", people=2, each=6, seed=0, first_person=4):
        pass
    best = str(tmp_path / "first" / "best.pt")
    config = tiny(
        data={"root": str(tmp_path / "others")}, model={"pretrained": best, "freeze": "backbone"}, train={"epochs": 1}
    )
    second = start(config, tmp_path / "second")
    assert f"initial weights: the backbone of {best}, with a new head" in capfd.readouterr().err
    averaged = read_plain(tmp_path / "first" / "best.pt")["weights"]
    backbone = [name for name in first if name.startswith("backbone.")]
    assert backbone and all(torch.equal(second[name], averaged[name]) for name in backbone)


def test_the_same_classes_take_the_head_as_well(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start(tiny(train={"epochs": 1}), tmp_path / "first")
    best = str(tmp_path / "first" / "best.pt")
    start(tiny(model={"pretrained": best}, train={"epochs": 1}), tmp_path / "second")
    assert f"initial weights: {best}, including the head" in capfd.readouterr().err


def test_weights_that_do_not_fit_and_files_that_are_none_are_named(tiny: Tiny, tmp_path: Path) -> None:
    start(tiny(train={"epochs": 1}), tmp_path / "first")
    best = str(tmp_path / "first" / "best.pt")
    with pytest.raises(ModelError) as raised:
        start(tiny(model={"name": "mlp", "pretrained": best}), tmp_path / "second")
    assert str(raised.value) == f"model.pretrained: {best} (`cnn`) does not fit the model"
    with pytest.raises(CheckpointError, match=r"nowhere.pt: no such checkpoint"):
        start(tiny(model={"pretrained": "nowhere.pt"}), tmp_path / "third")
    with pytest.raises(ModelError, match="there are no ImageNet weights for `cnn`"):
        start(tiny(model={"pretrained": "imagenet"}), tmp_path / "fourth")


@pytest.mark.usefixtures("hub")
def test_freezing_needs_learned_weights_and_stages(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`freeze` needs weights from `pretrained`: random ones would stay random"):
        load_config(tiny(model={"freeze": "backbone"}))
    with pytest.raises(ModelError, match=r"model\.freeze: 6 is more than the 5 stages of the model"):
        start(tiny(model={"name": "resnet18", "pretrained": "imagenet", "freeze": 6}), tmp_path / "run")


def test_the_backbone_learns_at_its_own_rate(tiny: Tiny, tmp_path: Path) -> None:
    slow = start(tiny(optimizer={"backbone_lr_factor": 1e-9}, train={"epochs": 1}), tmp_path / "slow")
    torch.manual_seed(0)
    from facecls.models import build_model

    config = load_config(tiny())
    new_state = build_model(config.model, config.head, classes=4, image_size=32).state_dict()
    backbone = [name for name in new_state if name.startswith("backbone.") and "weight" in name]
    assert all(torch.allclose(slow[name], new_state[name], atol=1e-6) for name in backbone)
    assert not torch.allclose(slow["head.weight"], new_state["head.weight"], atol=1e-3)


class Windowed(torch.nn.Module):
    """A network of timm's kind: positions in a window lie in a buffer that its state dict leaves out."""

    order: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = torch.nn.Conv2d(3, 8, 8, stride=8)
        self.places = torch.nn.Parameter(torch.zeros((size // 8) ** 2))
        self.register_buffer("order", torch.arange((size // 8) ** 2), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches: torch.Tensor = self.project(images).flatten(2)
        return (patches + self.places[self.order]).mean(2)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Windowed:
    """The network whose weights a library that stands where timm would calls learned; made for images of 48 pixels."""
    torch.manual_seed(1)
    learned = Windowed(48)

    def create_model(_: str, *, pretrained: bool, num_classes: int, img_size: int = 48) -> Windowed:
        assert num_classes == 0
        return learned if pretrained else Windowed(img_size)

    library = SimpleNamespace(
        create_model=create_model, list_models=lambda: ["windowed"], get_pretrained_cfg_value=lambda *_: True
    )
    monkeypatch.setitem(sys.modules, "timm", library)
    return learned


def test_buffers_that_timm_leaves_out_of_its_weights_are_the_models_own(tiny: Tiny, tmp_path: Path, timm: Windowed) -> None:
    model = {"name": "timm/windowed", "pretrained": "imagenet", "freeze": "backbone"}
    begun = start(tiny(data={"image_size": 48}, model=model, train={"epochs": 1}), tmp_path / "run")
    assert torch.equal(begun["backbone.network.project.weight"], timm.project.weight)
    assert torch.equal(begun["backbone.network.order"], torch.arange(36))


@pytest.mark.usefixtures("timm")
def test_weights_for_images_of_another_size_are_an_error_that_names_the_key(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        start(tiny(model={"name": "timm/windowed", "pretrained": "imagenet"}), tmp_path / "run")
    assert str(raised.value) == (
        "model.pretrained: `timm/windowed` with ImageNet weights does not fit a model for images of 32 pixels"
    )
    assert raised.value.hint == ("set data.image_size to the size of the weights, mostly 224 for ImageNet")
