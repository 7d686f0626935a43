"""What is on the disk when: the cost of writing, and runs that are killed."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from facecls import checkpoint
from facecls.checkpoint import read_plain
from facecls.config.load import load_config
from facecls.config.schema import Config
from facecls.device import resolve_device
from facecls.errors import RunError
from facecls.run import Run
from facecls.training import checkpointing, step
from facecls.training.signals import Interrupted
from facecls.training.state import TrainingState, build_state
from tests.training.runs import EVERYTHING, run_in, same, weights

Tiny = Callable[..., Path]


def run_alone(folder: Path, config: Config) -> None:
    """What a process that may be killed does; it says nothing."""
    torch.set_num_threads(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    run_in(folder, config, resume=True)


def test_runs_killed_at_random_moments_end_with_the_weights_of_an_unbroken_one(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(tiny(**{**EVERYTHING, "train": EVERYTHING["train"] | {"epochs": 8, "save_minutes": 1e-4}}))
    # Processes split off from one that has torch loaded already: all that is killed is training.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["facecls.training.train"])

    def start(folder: Path) -> Any:
        process = context.Process(target=run_alone, args=(folder, config))
        process.start()
        return process

    start(tmp_path / "first").join()  # the server needs some seconds to load torch
    begun = time.perf_counter()
    unbroken = start(tmp_path / "unbroken")
    unbroken.join()
    whole = time.perf_counter() - begun
    wanted, chance, killed = weights(tmp_path / "unbroken"), random.Random(0), 0
    for number in range(20):
        folder = tmp_path / f"killed-{number}"
        process = start(folder)
        time.sleep(chance.uniform(0, 0.7 * whole))  # the first run may have been slower than those to come
        killed += process.is_alive()
        process.kill()
        process.join()
        process = start(folder)
        process.join()
        assert process.exitcode == 0
        assert same(weights(folder), wanted)
        assert [row.epoch for row in Run(folder).rows()] == list(range(8))
        one, two = (read_plain(each / "best.pt")["metrics"] for each in (folder, tmp_path / "unbroken"))
        assert (one["epoch"], one["val_loss"]) == (two["epoch"], two["val_loss"])
        if killed == 10:
            return
    pytest.fail(f"only {killed} of 20 runs were killed before they ended")


def written(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[str]:
    """The names of the checkpoints that are written from here on, each taking so much of the processor's time."""
    plain_save, names = checkpoint.save, []

    def save(path: Path, plain: dict[str, Any]) -> None:
        names.append(path.name)
        plain_save(path, plain)
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    monkeypatch.setattr(checkpoint, "save", save)
    return names


def test_epochs_that_are_short_beside_a_writing_share_one(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = written(monkeypatch, seconds=0.2)
    config = load_config(tiny(train={"epochs": 12, "batch_size": 16}))
    run_in(tmp_path / "run", config)
    # After the first epoch, and when all is over; the last best.pt is the one with the calibration.
    assert names.count("last.pt") == 2
    assert names[:2] == ["best.pt", "last.pt"]
    assert names[-1] == "best.pt"
    best = max(Run(tmp_path / "run").rows(), key=lambda row: (row.val_accuracy, -row.val_loss))
    assert read_plain(tmp_path / "run" / "best.pt")["metrics"]["epoch"] == best.epoch
    assert read_plain(tmp_path / "run" / "last.pt")["training"]["epoch"] == 12


def test_save_minutes_holds_whatever_it_costs(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = written(monkeypatch, seconds=0.0)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 3, "batch_size": 16, "save_minutes": 1e-9})))
    assert names.count("last.pt") >= 3 * 2  # each epoch has two steps


def test_a_run_that_was_out_of_patience_stays_so(tiny: Tiny, tmp_path: Path) -> None:
    # A rate so small that nothing moves: the first epoch stays the best.
    config = load_config(tiny(train={"epochs": 9, "batch_size": 16, "patience": 2, "ema": 0}, optimizer={"lr": 1e-12}))
    result = run_in(tmp_path / "run", config)
    assert run_in(tmp_path / "run", config, resume=True).stopped == result.stopped == "no better val_accuracy in 2 epochs"
    assert len(Run(tmp_path / "run").rows()) == 3


def test_what_a_killed_writing_left_is_cleared_away(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".last.pt.4711").write_bytes(b"half of it")
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 1, "batch_size": 16})))
    assert not list((tmp_path / "run").glob(".*.4711"))


def test_a_run_goes_on_without_the_weights_that_it_began_with(tiny: Tiny, tmp_path: Path) -> None:
    run_in(tmp_path / "first", load_config(tiny(train={"epochs": 1, "batch_size": 16})))
    settings = {"model": {"name": "cnn", "pretrained": str(tmp_path / "first" / "best.pt")}}
    run_in(tmp_path / "second", load_config(tiny(**settings, train={"epochs": 1, "batch_size": 16})))
    (tmp_path / "first" / "best.pt").unlink()
    run_in(tmp_path / "second", load_config(tiny(**settings, train={"epochs": 2, "batch_size": 16})), resume=True)
    assert len(Run(tmp_path / "second").rows()) == 2


def test_a_lost_best_is_made_anew_while_there_is_training_left(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(tiny(train={"epochs": 2, "batch_size": 16}))
    run_in(tmp_path / "run", config)
    (tmp_path / "run" / "best.pt").unlink()
    with pytest.raises(RunError, match=r"best\.pt: is missing, and training has ended"):
        run_in(tmp_path / "run", config, resume=True)
    longer = load_config(tiny(train={"epochs": 3, "batch_size": 16}))
    assert run_in(tmp_path / "run", longer, resume=True).best.epoch == 2


def test_a_larger_time_budget_lets_a_run_that_was_cut_short_go_on(tiny: Tiny, tmp_path: Path) -> None:
    short = tiny(train={"epochs": 6, "batch_size": 16, "max_minutes": 1e-4})
    assert run_in(tmp_path / "run", load_config(short)).stopped == "train.max_minutes=0.0001 reached in epoch 1"
    long = tiny(train={"epochs": 6, "batch_size": 16, "max_minutes": 60.0})
    assert run_in(tmp_path / "run", load_config(long), resume=True).stopped == ""
    assert len(Run(tmp_path / "run").rows()) == 6


def test_ctrl_c_in_a_step_whose_loss_is_not_finite_still_ends_the_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_step, done = step.TrainStep.step, [0]

    def non_finite(self: step.TrainStep, state: TrainingState, *arguments: Any) -> None:
        plain_step(self, state, *arguments)
        done[0] += 1
        if done[0] == 3:
            state.running.sums[0] = float("nan")
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(step.TrainStep, "step", non_finite)
    with pytest.raises(Interrupted):
        run_in(tmp_path / "run", load_config(tiny(train={"epochs": 9, "batch_size": 16})))
    assert done[0] == 4  # the first step after going back


def test_a_run_of_two_processes_does_not_go_on_in_one(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(tiny(train={"epochs": 1, "batch_size": 16}))
    run_in(tmp_path / "run", config)
    last = read_plain(tmp_path / "run" / "last.pt")
    last["training"]["processes"] = 2
    checkpoint.save(tmp_path / "run" / "last.pt", last)
    with pytest.raises(RunError) as raised:
        run_in(tmp_path / "run", config, resume=True)
    assert str(raised.value) == (
        f"{tmp_path / 'run'}: was trained by 2 processes and cannot be resumed by one process: the batches would differ"
    )
    assert raised.value.hint == "torchrun --nproc-per-node=2"


def test_the_end_of_an_epoch_saves_what_is_due_whatever_it_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[object] = []
    monkeypatch.setattr(checkpointing.BackgroundWriter, "save", lambda _, state: saved.append(state))
    state: Any = object()
    template: Any = None
    for save_minutes in (1e-9, 5.0):
        writer = checkpointing.BackgroundWriter(Run(tmp_path), template, save_minutes, print)
        writer._cost = 10.0  # seconds
        writer.epoch_end(state)
    assert saved == [state]


def test_what_is_kept_for_writing_is_a_copy_on_the_host_of_what_is_held_in_two_places_once() -> None:
    wide = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    model = torch.nn.BatchNorm1d(2)
    state = {"weights": model.state_dict(), "step": 3, "best": None, "both": [(wide, 0.5), wide]}
    copied = checkpointing._to_host({"model": state["weights"], "training": state}, {})
    assert copied["model"] is copied["training"]["weights"] is not state["weights"]
    assert copied["model"]._metadata == model.state_dict()._metadata  # type: ignore[attr-defined]  # torch's stub
    (first, half), second = copied["training"]["both"]
    assert first is second is not wide and (half, copied["training"]["step"], copied["training"]["best"]) == (0.5, 3, None)
    assert torch.equal(first, wide) and first.stride() == wide.stride()
    with torch.no_grad():
        model.weight.zero_()
    assert copied["model"]["weight"].tolist() == [1.0, 1.0]


def test_the_average_and_the_weights_are_written_once(tiny: Tiny, tmp_path: Path) -> None:
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 1, "batch_size": 16, "ema": 0.9})))
    last = read_plain(tmp_path / "run" / "last.pt")
    averaged = last["training"]["average"]["weights"]
    assert all(tensor.data_ptr() == averaged[name].data_ptr() for name, tensor in last["weights"].items())


def test_a_file_is_mapped_into_memory_but_on_windows(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_load, mapped = torch.load, []

    def load(*arguments: Any, mmap: bool, **named: Any) -> Any:
        mapped.append(mmap)
        return plain_load(*arguments, mmap=mmap, **named)

    monkeypatch.setattr(torch, "load", load)
    for platform in ("linux", "win32"):
        monkeypatch.setattr(checkpoint, "sys", SimpleNamespace(platform=platform))
        read_plain(trained / "last.pt")
    assert mapped == [True, False]


def test_a_run_that_goes_on_leaves_the_file_that_it_was_read_from(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(tiny(optimizer={"name": "sgd", "lr": 0.01}, train={"epochs": 1, "batch_size": 16}))
    run = Run(tmp_path / "run")
    run_in(run.folder, config)
    state = build_state(config, 4, resolve_device("cpu", "auto"), lambda _: None)
    plain = read_plain(run.last)["training"]
    state.load_plain(plain)
    held, read = state.optimizer.state_dict()["state"], plain["optimizer"]["state"]
    assert held.keys() == read.keys() != set()
    for number, of_one in read.items():
        buffer = held[number]["momentum_buffer"]
        assert torch.equal(buffer, of_one["momentum_buffer"])
        assert buffer.data_ptr() != of_one["momentum_buffer"].data_ptr()
