"""Training on a GPU, where there is one: a step that waits for nothing, every store, every precision, going on."""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from facecls import checkpoint
from facecls.checkpoint import Checkpoint, read_plain
from facecls.config.load import load_config
from facecls.config.schema import Config
from facecls.data.dataset import index_dataset
from facecls.data.load import load_split
from facecls.data.sampler import TrainLoader
from facecls.device import resolve_device
from facecls.faces.geometry import Geometry
from facecls.progress import Progress
from facecls.run import EpochMetrics, Run
from facecls.training import checkpointing
from facecls.training.distributed import SingleProcess
from facecls.training.signals import Interrupted
from facecls.training.state import build_state
from facecls.training.step import TrainStep
from tests.conftest import Result
from tests.training.runs import EVERYTHING, run_in, weights
from tests.training.test_loop import broken_gradient, interrupted_at

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

Tiny = Callable[..., Path]

DEVICE = "cuda"
SGD = {"name": "sgd", "lr": 0.02}


@pytest.fixture
def no_waiting() -> Iterator[Callable[[], None]]:
    """Called, it makes everything an error that has the host wait for the GPU, until the test is over."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


# torch says once that it does not see all that waits.
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_never_waits_for_the_gpu(tiny: Tiny, no_waiting: Callable[[], None], precision: str, optimizer: str) -> None:
    everything = {**EVERYTHING, "optimizer": {"name": optimizer}, "data": {"store": "device", "image_size": 32}}
    config = load_config(tiny(device=DEVICE, precision=precision, **everything), ["train.start_size=null"])
    device, progress = resolve_device(config.device, config.precision), Progress()
    found = index_dataset(config.data, config.split)
    split = load_split("train", found.splits["train"], found.classes, config.data, progress.bar, device.torch_device)
    # All at hand before the first step: what is fetched beside the steps may wait.
    batches = list(TrainLoader(split, 8, config.seed, device).epoch(0))
    state = build_state(config, len(found.classes), device, lambda model: model)
    train_step = TrainStep(
        config,
        device,
        state.model,
        classes=len(found.classes),
        steps_per_epoch=len(batches),
        group=SingleProcess(),
        progress=progress,
        class_weights=torch.ones(len(found.classes)),
    )
    state.model.train()
    # Each of mixup and cutmix is drawn by some of these: kernels are loaded when they are first called for.
    for batch in batches:
        train_step.step(state, batch, 32)
    torch.cuda.synchronize()
    no_waiting()
    for batch in batches:
        train_step.step(state, batch, 32)
        state.running.peek()
    torch.cuda.set_sync_debug_mode("default")
    assert not state.non_finite().item() and not state.running.non_finite().item()
    assert int(state.running.skipped) == 0


def ends_well(run: Run, config: Config) -> list[EpochMetrics]:
    """The rows of a run that has gone through all its epochs, and left finite weights in float32."""
    rows = run.rows()
    assert [row.epoch for row in rows] == list(range(config.train.epochs))
    assert all(math.isfinite(getattr(row, name)) for row in rows for name in ("train_loss", "val_loss", "images_per_second"))
    held = [tensor for tensor in weights(run.folder).values() if tensor.is_floating_point()]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in held)
    return rows


@pytest.mark.parametrize("store", ["memory", "device", "disk", "stream"])
def test_every_store_trains_and_is_scored(tiny: Tiny, tmp_path: Path, facecls: Callable[..., Result], store: str) -> None:
    config = load_config(tiny(device=DEVICE, data={"image_size": 32, "store": store}))
    run = Run(tmp_path / "run")
    result = run_in(run.folder, config)
    ends_well(run, config)
    evaluation = facecls("eval", run.best, "--device", DEVICE, "--format", "json")
    assert evaluation.code == 0, evaluation.err
    expected = json.loads(evaluation.out)
    # One image at most may stand so near to two classes that another batch's kernel tips it over.
    assert expected["accuracy"] == pytest.approx(result.best.val_accuracy, abs=1.01 / expected["n"])
    evaluation = facecls("eval", run.best, "--device", "cpu", "--format", "json")
    assert evaluation.code == 0, evaluation.err


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_precision_learns(tiny: Tiny, tmp_path: Path, precision: str) -> None:
    config = load_config(tiny(device=DEVICE, precision=precision, train={"epochs": 8, "batch_size": 8}))
    run = Run(tmp_path / "run")
    run_in(run.folder, config)
    rows = ends_well(run, config)
    assert rows[-1].train_loss < rows[0].train_loss
    assert json.loads(run.environment.read_text())["device"] == f"{DEVICE}, {precision}"


def test_fp16_leaves_out_its_first_steps_and_learns_all_the_same(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # So high that the first gradients are infinite for certain; it is halved at each step that is left out.
    high = 2.0**32
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=high))
    config = load_config(tiny(device=DEVICE, precision="fp16", optimizer=SGD, train={"epochs": 16, "batch_size": 8, "ema": 0}))
    run = Run(tmp_path / "run")
    run_in(run.folder, config)
    rows = ends_well(run, config)
    assert read_plain(run.last)["training"]["scaler"]["scale"] < high
    assert rows[-1].train_loss < rows[0].train_loss
    assert "not finite" not in capfd.readouterr().err


def test_a_step_whose_gradient_is_not_finite_is_skipped(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken_gradient(monkeypatch, 3)
    config = load_config(tiny(device=DEVICE, precision="fp32", train={"epochs": 2, "batch_size": 8}))
    run_in(tmp_path / "run", config)
    assert "epoch 1: 1 of 5 steps skipped: gradient not finite\n" in capfd.readouterr().err
    ends_well(Run(tmp_path / "run"), config)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_run_ends_about_where_an_unbroken_one_does(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """About: some of a GPU's sums have no order."""
    config = load_config(tiny(device=DEVICE, precision=precision, **{**EVERYTHING, "optimizer": SGD}))
    whole, non_finite = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    run_in(whole.folder, config)
    with monkeypatch.context() as patch:
        interrupted_at(5, patch)
        with pytest.raises(Interrupted):
            run_in(non_finite.folder, config)
    run_in(non_finite.folder, config, resume=True)
    one, two = ends_well(whole, config), ends_well(non_finite, config)
    assert [row.train_loss for row in two] == pytest.approx([row.train_loss for row in one], rel=0.02)
    steps = [read_plain(run.last)["training"]["average"]["updates"] for run in (whole, non_finite)]
    assert steps[0] == steps[1]


def test_what_is_written_has_left_the_gpu(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []
    monkeypatch.setattr(checkpoint, "save", lambda _, plain: held.append(plain))
    config = load_config(tiny(device=DEVICE))
    state = build_state(config, 4, resolve_device(DEVICE, "auto"), lambda _: None)
    template: Any = Checkpoint(("a", "b"), Geometry(32), config.model, config.head, config, {}, {})
    writer = checkpointing.BackgroundWriter(Run(tmp_path), template, 5.0, print)
    before = torch.cuda.memory_allocated()
    writer.keep_best(state, 32)
    writer.save(state)
    writer.wait()
    assert torch.cuda.memory_allocated() == before
    best, last = held
    written = [*best["weights"].values(), *last["weights"].values(), *last["training"]["model"].values()]
    assert {tensor.device.type for tensor in written} == {"cpu"}
