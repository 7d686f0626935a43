"""A step that runs out of memory, is compiled, or is watched."""

import sys
import weakref
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from facecls.checkpoint import read_plain
from facecls.config.load import load_config
from facecls.config.schema import Config
from facecls.errors import CheckpointError, FaceclsError, InstallError, ModelError, TrainingError
from facecls.models.classifier import FaceClassifier
from facecls.progress import Progress
from facecls.run import Run
from facecls.training.distributed import SingleProcess
from facecls.training.schedule import ramp, resolution_at
from facecls.training.train import train

Tiny = Callable[..., Path]

EXACT: dict[str, Any] = {"model": {"name": "linear"}, "precision": "fp32", "optimizer": {"name": "sgd", "lr": 0.01}}


def weights(config: Config, folder: Path) -> dict[str, torch.Tensor]:
    train(config, Run(folder), Progress(), resume=False)
    held: dict[str, torch.Tensor] = read_plain(folder / "best.pt")["weights"]
    return held


def small_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A device that holds `most` faces while training."""
    plain = FaceClassifier.embed

    def embed(self: FaceClassifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(self, images)

    monkeypatch.setattr(FaceClassifier, "embed", embed)


def test_out_of_memory_halves_the_micro_batches_and_keeps_the_gradient(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = load_config(tiny(**EXACT), ["train.epochs=1"])
    whole = weights(config, tmp_path / "whole")
    small_memory(monkeypatch, 5)
    micro_batches = weights(config, tmp_path / "pieces")
    assert all(torch.allclose(whole[name], micro_batches[name], atol=1e-6) for name in whole)
    output = capfd.readouterr().err
    assert "cpu ran out of memory: the 20 images of a step are now split into 2 micro-batches of 10" in output
    assert "split into 4 micro-batches of 5, which batch norm, mixup, cutmix and dropout then see" in output


def test_the_failed_pass_is_gone_before_its_memory_is_given_back(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []
    plain = FaceClassifier.embed

    def embed(self: FaceClassifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and not alive:
            passed.append(weakref.ref(images))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, images)

    monkeypatch.setattr(FaceClassifier, "embed", embed)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(passed[-1]() is not None))
    weights(load_config(tiny(**EXACT), ["train.epochs=1"]), tmp_path / "run")
    assert alive == [False]


def test_a_device_that_holds_not_one_face_is_an_error(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_memory(monkeypatch, 0)
    with pytest.raises(TrainingError) as raised:
        weights(load_config(tiny(**EXACT)), tmp_path / "run")
    assert str(raised.value) == ("cpu: not enough memory to train on one image: CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_compiled_run_has_clean_names_and_about_the_same_weights(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the C++ compiler behind it, which takes most of a minute: what is tested is that the graph is captured.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    config = load_config(tiny(**EXACT), ["train.epochs=1"])
    plain = weights(config, tmp_path / "plain")
    compiled = weights(config.model_copy(update={"compile": True}), tmp_path / "compiled")
    assert plain.keys() == compiled.keys()
    assert all(torch.allclose(plain[name], compiled[name], atol=1e-5) for name in plain)


def test_images_grow_in_steps_of_16_to_their_full_size(tiny: Tiny) -> None:
    config = load_config(tiny(data={"image_size": 112}, train={"start_size": 64}))
    sizes = [resolution_at(config, epoch, 30) for epoch in range(30)]
    assert sizes[0] == 64 and sizes[20:] == [112] * 10
    assert sizes == sorted(sizes) and {later - size for size, later in pairwise(sizes)} == {0, 16}
    assert [resolution_at(config, epoch, 2) for epoch in range(2)] == [64, 112]  # too few epochs to grow slowly
    odd = load_config(tiny(data={"image_size": 90}, train={"start_size": 64}))
    assert {resolution_at(odd, epoch, 30) for epoch in range(30)} == {64, 80, 90}


def test_what_grows_grows_evenly_over_its_share_of_training() -> None:
    assert [ramp(epoch, 10, 0.5) for epoch in (0, 2.5, 5, 9)] == [0, 0.5, 1, 1]
    assert ramp(0, 10, 0.0) == 1


def test_one_of_a_team_that_runs_out_of_memory_ends_the_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SingleProcess, "size", 2)
    small_memory(monkeypatch, 5)
    with pytest.raises(TrainingError, match="cpu ran out of memory on rank 0 of 2"):
        weights(load_config(tiny(**EXACT), ["train.epochs=1"]), tmp_path / "run")


def test_batch_norm_of_one_face_is_an_error(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as raised:
        weights(load_config(tiny(model={"name": "mlp"}), ["train.batch_size=1"]), tmp_path / "run")
    assert str(raised.value) == "batch norm needs more than one image per micro-batch"
    assert raised.value.hint == ("use a larger train.batch_size, or a model without batch norm (`model.name: linear`)")


@pytest.mark.parametrize(
    ("overrides", "error", "output"),
    [
        (["model.name=torchvision/resnet81"], ModelError, "model.name: `torchvision/resnet81` is not a model"),
        (["model.pretrained=nowhere.pt"], CheckpointError, "nowhere.pt: no such checkpoint"),
        (["model.name=mlp", "train.start_size=16"], ModelError, "train.start_size: `mlp` takes images of 32 pixels only"),
        (["train.tracker=tensorboard"], InstallError, "train.tracker: tensorboard is not installed"),
    ],
)
def test_what_is_wrong_with_the_model_is_told_before_the_faces_are_read(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    error: type[FaceclsError],
    output: str,
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("faces are read")

    monkeypatch.setattr("facecls.training.train.load_splits", read)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(error) as raised:
        weights(load_config(tiny(), overrides), tmp_path / "run")
    assert str(raised.value).startswith(output)
    assert not Run(tmp_path / "run").config.exists()
