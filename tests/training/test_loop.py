"""Whole trainings: what comes out, what can be interrupted, and what goes on bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from facecls import checkpoint
from facecls.checkpoint import read_plain
from facecls.config.load import load_config
from facecls.device import resolve_device
from facecls.errors import ModelError, RunError, TrainingError
from facecls.evaluation.evaluate import evaluate_checkpoint
from facecls.evaluation.infer import infer
from facecls.evaluation.metrics import compute_metrics
from facecls.open_set.outputs import Outputs
from facecls.progress import Progress
from facecls.run import EpochMetrics, Run
from facecls.training import step
from facecls.training.distributed import SingleProcess
from facecls.training.epochs import epoch_line, rank_key
from facecls.training.loop import Loop
from facecls.training.signals import Interrupted
from facecls.training.state import TrainingState
from tests.training.runs import EVERYTHING, run_in, same, weights

Tiny = Callable[..., Path]


def test_the_network_learns_what_it_is_shown(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(
        tiny(train={"epochs": 12, "batch_size": 8}, augment={"erase": 0.0, "rotate": 0.0}, split={"val": 0.25})
    )
    result = run_in(tmp_path / "run", config)
    rows = Run(tmp_path / "run").rows()
    assert rows[-1].train_loss < 0.8 * rows[0].train_loss
    assert result.best.val_accuracy >= 0.5
    assert read_plain(tmp_path / "run" / "best.pt")["metrics"] == result.best.to_plain()


def test_two_runs_of_one_config_give_the_same_weights(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(tiny(**EVERYTHING), ["train.epochs=1"])
    for name in ("one", "two"):
        run_in(tmp_path / name, config)
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))


def interrupted_at(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends this process a SIGINT after so many steps."""
    plain_step, done = step.TrainStep.step, [0]

    def counted(*arguments: Any) -> None:
        plain_step(*arguments)
        done[0] += 1
        if done[0] == steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(step.TrainStep, "step", counted)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    config = load_config(tiny(**EVERYTHING))
    run_in(tmp_path / "unbroken", config)
    with monkeypatch.context() as patch:
        interrupted_at(steps, patch)
        with pytest.raises(Interrupted):
            run_in(tmp_path / "broken", config)
    run_in(tmp_path / "broken", config, resume=True)
    assert same(weights(tmp_path / "unbroken"), weights(tmp_path / "broken"))
    expected = ("epoch", "step", "lr", "train_loss", "val_loss", "val_accuracy")
    one, two = (
        [[getattr(row, key) for key in expected] for row in Run(tmp_path / name).rows()] for name in ("unbroken", "broken")
    )
    assert one == two


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(train={"epochs": 10000, "batch_size": 8})
    words = ["train", str(config), "--out", str(tmp_path / "run"), "--set", "seed=3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "facecls", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # the first epoch is over
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"facecls train {config} --set seed=3 --out {tmp_path / 'run'} --resume" in err
    assert read_plain(tmp_path / "run" / "last.pt")["training"]["epoch"] >= 1


def test_resume_with_no_run_starts_anew_and_says_so(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_in(tmp_path / "run", load_config(tiny()), resume=True)
    assert f"{tmp_path / 'run'}: there is no last.pt to resume from, training starts anew" in capfd.readouterr().err


def test_resume_of_a_run_that_was_killed_before_its_first_last_pt_starts_anew(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, config = Run(tmp_path / "run"), load_config(tiny())
    run_in(run.folder, config)
    whole = weights(run.folder)
    run.last.unlink()
    run.best.unlink()
    run_in(run.folder, config, resume=True)
    assert f"{run.folder}: there is no last.pt to resume from, training starts anew" in capfd.readouterr().err
    assert same(weights(run.folder), whole) and [row.epoch for row in run.rows()] == [0, 1]


def test_what_may_change_is_said_and_what_may_not_is_named(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_in(tmp_path / "run", load_config(tiny()))
    with pytest.raises(RunError) as raised:
        run_in(tmp_path / "run", load_config(tiny(), ["optimizer.lr=0.5", "train.epochs=3"]), resume=True)
    assert raised.value.problems == (
        f"{tmp_path / 'run'}: the config differs from the run's",
        "optimizer.lr: the run has 0.003, got 0.5",
    )
    assert load_config(Run(tmp_path / "run").config).train.epochs == 2
    run_in(tmp_path / "run", load_config(tiny(), ["train.epochs=3"]), resume=True)
    assert "train.epochs: changed from 2 to 3" in capfd.readouterr().err
    assert load_config(Run(tmp_path / "run").config).train.epochs == 3
    assert len(Run(tmp_path / "run").rows()) == 3


def test_a_best_is_replaced_only_by_a_better_one(tiny: Tiny, tmp_path: Path) -> None:
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 6, "batch_size": 8})))
    rows = Run(tmp_path / "run").rows()
    best = max(rows, key=lambda row: (row.val_accuracy, -row.val_loss))
    assert read_plain(tmp_path / "run" / "best.pt")["metrics"] == best.to_plain()
    # An older and better best than anything to come stays where it is.
    plain = read_plain(tmp_path / "run" / "best.pt")
    plain["metrics"] = {**plain["metrics"], "val_accuracy": 1.1}
    checkpoint.save(tmp_path / "run" / "best.pt", plain)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 8, "batch_size": 8})), resume=True)
    assert read_plain(tmp_path / "run" / "best.pt")["metrics"]["val_accuracy"] == 1.1


def test_a_run_in_use_is_left_alone(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.open()
    with run.lock(), pytest.raises(RunError, match="another process trains in this directory"):
        run_in(run.folder, load_config(tiny()))


def test_a_loss_that_is_not_finite_goes_back_and_halves_the_rate(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plain_cross_entropy, calls = functional.cross_entropy, [0]

    def once_broken(*arguments: Any, **named: Any) -> torch.Tensor:
        calls[0] += 1
        loss: torch.Tensor = plain_cross_entropy(*arguments, **named)
        return loss * float("nan") if calls[0] == 4 else loss

    monkeypatch.setattr(functional, "cross_entropy", once_broken)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 3, "batch_size": 16})))
    assert (
        "the loss was not finite in epoch 2, step 2: rolled back to epoch 2, step 0, with 0.5 of the learning rate"
        in capfd.readouterr().err
    )
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())
    assert [row.epoch for row in Run(tmp_path / "run").rows()] == [0, 1, 2]


@pytest.mark.parametrize(("lr", "lower"), [("1e6", "0.1"), ("0.8", "0.01"), ("0.003", "4e-05")])  # of 1/8, a tenth; at most 0.1
def test_a_loss_that_stays_not_finite_is_an_error_that_names_a_way_out(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lr: str, lower: str
) -> None:
    plain_cross_entropy = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", lambda *a, **k: plain_cross_entropy(*a, **k) * float("inf"))
    with pytest.raises(TrainingError) as raised:
        run_in(tmp_path / "run", load_config(tiny(), [f"optimizer.lr={lr}"]))
    assert str(raised.value) == ("the loss is not finite in epoch 1, step 1, also with 1/2, 1/4 and 1/8 of the learning rate")
    assert raised.value.hint == f"use a lower rate (--set optimizer.lr={lower}) or --set precision=fp32"


def broken_gradient(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """In the steps of those numbers, from 1, a finite loss has a gradient that is not finite; without numbers in all."""
    plain_cross_entropy, calls = functional.cross_entropy, [0]

    def cross_entropy(logits: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] in steps or not steps:
            logits.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]  # torch's stub
        return plain_cross_entropy(logits, *arguments, **named)

    monkeypatch.setattr(functional, "cross_entropy", cross_entropy)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_whose_gradient_is_not_finite_is_skipped_and_reported(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    optimizer: str,
    clip_norm: float | None,
) -> None:
    broken_gradient(monkeypatch, 3, 6, 7)  # an epoch has five steps
    train = {"epochs": 3, "batch_size": 8, "clip_norm": clip_norm}
    run_in(tmp_path / "run", load_config(tiny(train=train, optimizer={"name": optimizer}, precision="fp32")))
    output = capfd.readouterr().err
    assert "epoch 1: 1 of 5 steps skipped: gradient not finite\n" in output
    assert "epoch 2: 2 of 5 steps skipped: gradient not finite\n" in output
    assert "epoch 3:" not in output and "rolled back" not in output
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())
    assert [row.epoch for row in Run(tmp_path / "run").rows()] == [0, 1, 2]


def test_skipped_steps_are_counted_over_a_resume(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = load_config(tiny(train={"epochs": 1, "batch_size": 8}))
    with monkeypatch.context() as patch:
        broken_gradient(patch, 1)
        interrupted_at(2, patch)
        with pytest.raises(Interrupted):
            run_in(tmp_path / "run", config)
    broken_gradient(monkeypatch, 2)
    run_in(tmp_path / "run", config, resume=True)
    assert "epoch 1: 2 of 5 steps skipped: gradient not finite\n" in capfd.readouterr().err


def test_a_step_that_another_rank_skips_is_skipped(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[float] = []

    def all_reduce_any(_: SingleProcess, flag: torch.Tensor) -> torch.Tensor:
        calls.append(flag.item())
        return torch.ones_like(flag) if len(calls) == 1 else flag  # the first call is that of the first step

    monkeypatch.setattr(SingleProcess, "all_reduce_any", all_reduce_any)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 1, "batch_size": 8})))
    assert "epoch 1: 1 of 5 steps skipped: gradient not finite\n" in capfd.readouterr().err
    assert set(calls) == {0.0}


def test_an_epoch_of_skipped_steps_is_rolled_back_and_then_an_error(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken_gradient(monkeypatch)
    with pytest.raises(TrainingError) as raised:
        run_in(tmp_path / "run", load_config(tiny()))
    assert (
        "the gradient of all steps was not finite in epoch 1, step 2: rolled back to epoch 1, step 0, "
        "with 0.5 of the learning rate\n" in capfd.readouterr().err
    )
    assert str(raised.value) == (
        "the gradient of all steps is not finite in epoch 1, step 2, also with 1/2, 1/4 and 1/8 of the learning rate"
    )


def broken_weight(monkeypatch: pytest.MonkeyPatch, step_number: int, seconds: float = 0.0) -> None:
    """The step of that number takes so long and leaves a weight that is not finite, as a high learning rate does."""
    plain_step, calls = step.TrainStep.step, [0]

    def breaking(self: step.TrainStep, state: TrainingState, *arguments: Any) -> None:
        plain_step(self, state, *arguments)
        calls[0] += 1
        if calls[0] == step_number:
            time.sleep(seconds)
            with torch.no_grad():
                next(state.model.parameters()).fill_(float("inf"))

    monkeypatch.setattr(step.TrainStep, "step", breaking)


@pytest.mark.parametrize(("at", "save_minutes"), [(3, 1e-9), (4, 5.0)])  # where a save is due, and at the end of an epoch
def test_a_weight_that_is_not_finite_is_not_saved_to_be_gone_back_to(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    at: int,
    save_minutes: float,
) -> None:
    broken_weight(monkeypatch, at)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 3, "batch_size": 16, "save_minutes": save_minutes})))
    assert f"a weight was not finite in epoch 2, step {at - 2}: rolled back to epoch" in capfd.readouterr().err
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())
    assert [row.epoch for row in Run(tmp_path / "run").rows()] == [0, 1, 2]


def test_a_setback_does_not_forget_the_time_that_it_took(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_weight(monkeypatch, 4, seconds=1.0)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 2, "batch_size": 16})))
    first, last = Run(tmp_path / "run").rows()
    assert last.seconds > first.seconds + 1.0


def metrics(val_accuracy: float, val_loss: float) -> EpochMetrics:
    return EpochMetrics(0, 10, 32, 0.1, 1.0, 0.5, val_loss, val_accuracy, 0.5, 100.0, 0.0, 1.0)


def test_the_line_of_an_epoch_fits_100_columns() -> None:
    row = EpochMetrics(119, 10, 112, 0.1, 2.4731, 1.0, 5.0771, 1.0, 1.0, 1224.4, 0.5, 9249.0)
    line = epoch_line(row, "120/120", is_best=True)
    assert line == "epoch 120/120  lr 0.1000  loss 2.473  val loss 5.077  acc 100.0%  F1 100.0%  1224 img/s  9249s  best"
    assert len(line) <= 100


def test_a_figure_that_is_no_number_is_worse_than_any() -> None:
    nothing, poor = (metrics(0.5, loss) for loss in (float("nan"), 1e9))
    assert rank_key(poor, "val_loss") > rank_key(nothing, "val_loss")


def test_of_epochs_with_the_same_accuracy_the_one_with_the_lower_loss_is_better() -> None:
    figures = [(0.9, 0.3), (0.9, 0.2), (0.8, 0.1), (0.9, float("nan"))]
    rows = [metrics(accuracy, loss) for accuracy, loss in figures]
    assert max(rows, key=lambda row: rank_key(row, "val_accuracy")) is rows[1]
    assert max(rows[2:], key=lambda row: rank_key(row, "val_accuracy")) is rows[3]


def test_without_selection_the_last_epoch_is_kept_also_if_it_is_worse() -> None:
    rows = [replace(metrics(accuracy, 0.5), epoch=epoch) for epoch, accuracy in enumerate((0.5, 0.9, 0.7))]
    assert max(rows, key=lambda row: rank_key(row, "last")) is rows[2]


def test_ctrl_c_while_the_last_epoch_is_scored_ends_the_run_before_it_is_judged(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, unpatched = load_config(tiny(train={"epochs": 1, "batch_size": 16})), compute_metrics

    def asked(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return unpatched(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("facecls.training.loop.compute_metrics", asked)
        with pytest.raises(Interrupted) as raised:
            run_in(tmp_path / "run", config)
    assert raised.value.signal == signal.SIGTERM
    assert checkpoint.read(tmp_path / "run").calibration is None
    run_in(tmp_path / "run", config, resume=True)
    assert checkpoint.read(tmp_path / "run").calibration is not None
    assert len(Run(tmp_path / "run").rows()) == 1


def test_the_speed_counts_the_wait_for_the_last_steps_of_an_epoch(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_check = Loop._check_finite

    def waiting(self: Loop, state: TrainingState, *, weights: bool) -> None:
        time.sleep(0.2)  # as a GPU has it where steps are queued
        plain_check(self, state, weights=weights)

    monkeypatch.setattr(Loop, "_check_finite", waiting)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 1, "batch_size": 16})))
    (row,) = Run(tmp_path / "run").rows()
    # 40 faces in two steps, with a look after each and one at the end.
    assert 40 / row.images_per_second > 3 * 0.2


def test_patience_ends_a_run_that_gets_no_better(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(tiny(optimizer={"lr": 1e-12}, train={"epochs": 50, "batch_size": 16, "patience": 3}))
    result = run_in(tmp_path / "run", config)
    assert result.stopped == "no better val_accuracy in 3 epochs"
    assert len(Run(tmp_path / "run").rows()) == result.best.epoch + 1 + 3


def second_per_step(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes each step of training take a second and all else no time; returns the learning rates of the steps."""
    plain_step = step.TrainStep.step
    rates: list[float] = []

    def counted(self: step.TrainStep, state: TrainingState, *arguments: Any) -> None:
        plain_step(self, state, *arguments)
        rates.append(state.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(step.TrainStep, "step", counted)
    monkeypatch.setattr("facecls.training.loop.time.perf_counter", lambda: 10.0 + len(rates))
    return rates


BUDGET: dict[str, Any] = {"epochs": 40, "batch_size": 8, "max_minutes": 1.0}  # 57 steps of 200


@pytest.mark.parametrize("name", ["onecycle", "cosine"])
def test_a_time_budget_ends_with_a_finished_schedule(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    rates = second_per_step(monkeypatch)
    config = load_config(
        tiny(data={"image_size": 48}, train={**BUDGET, "start_size": 32}, schedule={"name": name, "warmup_epochs": 8})
    )
    result = run_in(tmp_path / "run", config)
    assert len(rates) == 57
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert top == pytest.approx(57 * 8 / 40, abs=1)
    assert max(rates) == pytest.approx(config.optimizer.lr, rel=0.02) and rates[-1] < 0.01 * config.optimizer.lr
    rows = Run(tmp_path / "run").rows()
    assert [row.step for row in rows] == [*range(5, 57, 5), 57]
    assert [row.image_size for row in rows] == [32] * 7 + [48] * 5
    assert result.stopped == "train.max_minutes=1 reached in epoch 12"
    out, err = capfd.readouterr()
    assert out.splitlines()[2].startswith("epoch  3 (25 % of 1 min)  lr ")
    assert out.splitlines()[-1].startswith("epoch 12 (95 % of 1 min)  lr ")
    assert "image size: 48 pixels\n" in err


def test_a_run_resumed_under_a_time_budget_goes_on_with_the_time_it_had(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rates, config = second_per_step(monkeypatch), load_config(tiny(train=BUDGET))
    run_in(tmp_path / "whole", config)
    whole = rates.copy()
    rates.clear()
    with monkeypatch.context() as patch:
        interrupted_at(23, patch)
        with pytest.raises(Interrupted):
            run_in(tmp_path / "broken", config)
    run_in(tmp_path / "broken", config, resume=True)
    assert rates == whole and same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    capfd.readouterr()
    run_in(tmp_path / "broken", config, resume=True)
    assert "training has ended already; calibrating again\n" in capfd.readouterr().err and rates == whole


def test_a_run_interrupted_in_the_last_step_of_its_time_is_validated_when_it_is_resumed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_per_step(monkeypatch)
    config = load_config(tiny(train={**BUDGET, "max_minutes": 3 / 57}))  # three steps
    with monkeypatch.context() as patch:
        interrupted_at(3, patch)
        with pytest.raises(Interrupted):
            run_in(tmp_path / "run", config)
    run_in(tmp_path / "run", config, resume=True)
    assert [row.epoch for row in Run(tmp_path / "run").rows()] == [0]


def test_a_time_budget_that_is_not_reached_gives_the_weights_of_a_run_without_one(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(**EVERYTHING)
    run_in(tmp_path / "free", load_config(config))
    run_in(tmp_path / "budget", load_config(config, ["train.max_minutes=600"]))
    assert same(weights(tmp_path / "free"), weights(tmp_path / "budget"))


def test_the_rate_of_a_row_is_the_heads_where_the_backbone_has_a_share_of_it(tiny: Tiny, tmp_path: Path) -> None:
    for factor in (1.0, 0.1):
        run_in(tmp_path / f"{factor}", load_config(tiny(optimizer={"backbone_lr_factor": factor}, train={"epochs": 2})))
    whole, share = ([row.lr for row in Run(tmp_path / name).rows()] for name in ("1.0", "0.1"))
    assert share == whole


def test_epochs_are_scored_without_keeping_features(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def watched(*arguments: Any, **named: Any) -> Outputs:
        outputs = infer(*arguments, **named)
        shapes.append((outputs.logits.shape, outputs.features.shape))
        return outputs

    monkeypatch.setattr("facecls.training.loop.infer", watched)
    run_in(tmp_path / "run", load_config(tiny(train={"epochs": 1})))
    assert shapes == [((8, 4), (8, 0))]


def test_accumulated_pieces_give_the_gradient_of_the_whole_batch(tiny: Tiny, tmp_path: Path) -> None:
    """For a network without batch norm, whose statistics are those of a piece."""
    plain = {"model": {"name": "linear"}, "precision": "fp32"}
    plain["optimizer"] = {"name": "sgd", "lr": 0.01}
    path = tiny(**plain, train={"epochs": 1, "batch_size": 16}, schedule={"warmup_epochs": 0})
    run_in(tmp_path / "whole", load_config(path))
    run_in(tmp_path / "pieces", load_config(path, ["train.batch_size=8", "train.accumulate=2"]))
    whole, micro_batches = weights(tmp_path / "whole"), weights(tmp_path / "pieces")
    assert all(torch.allclose(whole[name], micro_batches[name], atol=1e-6) for name in whole)


def test_a_model_of_one_image_size_refuses_to_start_at_another(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        run_in(tmp_path / "run", load_config(tiny(model={"name": "mlp"}, train={"start_size": 16})))
    assert str(raised.value) == ("train.start_size: `mlp` takes images of 32 pixels only, not 16")


def test_metrics_are_json_lines(tiny: Tiny, tmp_path: Path) -> None:
    run_in(tmp_path / "run", load_config(tiny()))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def test_a_run_whose_val_loss_is_not_finite_saves_it_and_resumes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_compute = compute_metrics
    monkeypatch.setattr("facecls.training.loop.compute_metrics", lambda *a: replace(plain_compute(*a), loss=float("nan")))
    run = Run(tmp_path / "run")
    run_in(run.folder, load_config(tiny(train={"epochs": 1})))
    for path in (run.best, run.last):
        held = read_plain(path)["metrics"]
        assert held["val_loss"] is None and held["non_finite"] == ["val_loss"]
    monkeypatch.undo()
    result = run_in(run.folder, load_config(tiny(train={"epochs": 2})), resume=True)
    assert [row.non_finite for row in run.rows()] == [["val_loss"], []]
    assert json.loads(run.metrics.read_text().splitlines()[0])["val_loss"] is None
    assert result.best.epoch == 1 or result.best.val_accuracy > run.rows()[1].val_accuracy


def test_images_that_grow_are_scored_at_the_size_they_have(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = load_config(tiny(data={"image_size": 48}, train={"epochs": 6, "start_size": 32, "batch_size": 16}))
    result = run_in(tmp_path / "run", config)
    rows = Run(tmp_path / "run").rows()
    assert [row.image_size for row in rows] == [32, 32, 32, 32, 48, 48]
    output = capfd.readouterr().err
    assert "image size: 32 pixels, growing to 48\n" in output
    assert "image size: 48 pixels\n" in output
    # A smaller image's figure never beats a larger one's.
    assert result.best.image_size == 48
    assert result.best.val_accuracy == max(row.val_accuracy for row in rows[4:])
    assert read_plain(tmp_path / "run" / "best.pt")["geometry"]["image_size"] == 48


def test_a_run_that_ends_while_images_grow_leaves_a_classifier_of_their_size(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny(data={"image_size": 48}, train={"epochs": 6, "start_size": 32, "batch_size": 16}))
    with monkeypatch.context() as patch:
        interrupted_at(5, patch)  # an epoch has two steps
        with pytest.raises(Interrupted):
            run_in(tmp_path / "run", config)
    best = read_plain(tmp_path / "run" / "best.pt")
    assert best["geometry"]["image_size"] == best["metrics"]["image_size"] == 32
    evaluation = evaluate_checkpoint(checkpoint.read(tmp_path / "run"), resolve_device("cpu", "auto"), Progress())
    assert evaluation.split.faces[np.arange(1)].shape == (1, 32, 32, 3)
