"""The schedules against their formulas and torch's own, and what weight decay leaves out."""

import math

import pytest
import torch
from torch import nn

from facecls.config.schema import OptimizerConfig, ScheduleConfig
from facecls.training.ema import EMA, NoAverage, build_average
from facecls.training.optimizer import build_optimizer
from facecls.training.schedule import learning_rate


def test_one_cycle_is_torchs_one_cycle() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    steps, warmup = 100, 20
    # torch counts the last step as the end; ours ends where the next step would begin.
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, total_steps=steps + 1, pct_start=(warmup + 1) / (steps + 1), final_div_factor=1e4, cycle_momentum=False
    )
    schedule = ScheduleConfig(name="onecycle", warmup_epochs=warmup / 10)
    for step in range(steps):
        assert learning_rate(schedule, 0.4, step / 10, steps / 10) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    ("name", "epoch", "share"),
    [
        ("cosine", 0.0, 1 / 25),
        ("cosine", 1.0, 13 / 25),
        ("cosine", 2.0, 1.0),
        ("cosine", 6.0, 0.5),
        ("cosine", 4.0, (1 + math.cos(math.pi / 4)) / 2),
        ("constant", 0.0, 1 / 25),
        ("constant", 1.0, 13 / 25),
        ("constant", 2.0, 1.0),
        ("constant", 9.9, 1.0),
        ("step", 0.0, 1 / 25),
        ("step", 0.5, 7 / 25),
        ("step", 3.9, 1.0),
        ("step", 4.0, 0.1),
        ("step", 8.5, 0.01),
    ],
)
def test_the_other_schedules_are_their_formulas(name: str, epoch: float, share: float) -> None:
    schedule = ScheduleConfig.model_validate({"name": name, "warmup_epochs": 2, "step_epochs": 4, "step_factor": 0.1})
    assert learning_rate(schedule, 3.0, epoch, 10) == pytest.approx(3.0 * share)


@pytest.mark.parametrize("name", ["onecycle", "cosine", "constant", "step"])
def test_warm_up_takes_at_most_half_of_training_and_may_be_none(name: str) -> None:
    schedule = ScheduleConfig.model_validate({"name": name, "warmup_epochs": 9})
    assert learning_rate(schedule, 1.0, 1.0, 2.0) == pytest.approx(1.0)
    assert learning_rate(schedule.model_copy(update={"warmup_epochs": 0.0}), 1.0, 0.0, 2.0) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["onecycle", "cosine", "constant", "step"])
def test_the_first_step_has_a_learning_rate_above_0(name: str) -> None:
    schedule = ScheduleConfig.model_validate({"name": name, "warmup_epochs": 2})
    assert learning_rate(schedule, 1.0, 0.0, 10) == pytest.approx(1 / 25)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_biases_and_norms_are_not_decayed(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimizer = build_optimizer(model, OptimizerConfig.model_validate({"name": name, "weight_decay": 0.1}))
    decayed, free = (group["params"] for group in optimizer.param_groups)
    assert [parameter.ndim for parameter in decayed] == [4, 2]
    assert len(free) == 4 and optimizer.param_groups[1]["weight_decay"] == 0


def test_the_average_follows_its_formula_with_its_statistics() -> None:
    model = nn.BatchNorm1d(1)
    average = build_average(model, 0.5)
    assert isinstance(average, EMA)
    expected = 0.0
    for number in range(20):
        model.running_mean = torch.full((1,), float(number))
        average = average if number else EMA(model, 0.5)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * number
        average.update(model)
    assert average.model.running_mean == pytest.approx(expected)
    assert not average.model.training


def test_no_average_is_the_model_itself() -> None:
    model = nn.Linear(1, 1)
    average = build_average(model, 0.0)
    assert isinstance(average, NoAverage) and average.model is model


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_first_step_that_is_left_out_leaves_no_trace(nesterov: bool) -> None:
    """As fp16's scaler leaves steps out, and a loss that is not finite: by `found_inf`."""
    one, two = (build_optimizer(model, OptimizerConfig(nesterov=nesterov)) for model in (linear(), linear()))
    gradient = torch.ones(4, 3)
    for optimizer, left_out in ((one, True), (two, False)):
        for found_inf in [1.0] * left_out + [0.0, 0.0]:
            optimizer.param_groups[0]["params"][0].grad = gradient.clone()
            optimizer.found_inf = torch.tensor(found_inf)  # type: ignore[attr-defined]  # as torch's scaler does
            optimizer.step()
    assert torch.equal(one.param_groups[0]["params"][0], two.param_groups[0]["params"][0])


def test_momentum_that_begins_with_zeros_takes_the_steps_of_torchs_sgd_and_goes_on() -> None:
    ours, theirs = linear(), linear()
    one = build_optimizer(ours, OptimizerConfig(weight_decay=0.1))
    two = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, fused=True)
    for step in range(4):
        if step == 2:  # as a run that is resumed
            held = one.state_dict()
            one = build_optimizer(ours, OptimizerConfig(weight_decay=0.1))
            one.load_state_dict(held)
        for model, optimizer in ((ours, one), (theirs, two)):
            model.weight.grad = torch.full((4, 3), 0.1 * (step + 1))
            optimizer.step()
        assert torch.equal(ours.weight, theirs.weight)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 4, bias=False)
