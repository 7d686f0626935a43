"""What changes in the course of training: the learning rate, the image size, and ramps such as the margin's."""

import math
from collections.abc import Callable

from facecls.config.schema import Config, ScheduleConfig

# Of the peak, where warm-up starts, as in torch's OneCycleLR: from 0 the first step would leave the weights as they are, and
# a rate by the number of steps, (step + 1) / steps, would not be a function of the fractional epoch alone.
_START = 1 / 25
_END = 1e-4 / 25  # of the peak, where one-cycle ends

Schedule = Callable[[ScheduleConfig, float, float], float]


def learning_rate(schedule: ScheduleConfig, peak: float, epoch: float, epochs: float) -> float:
    """The learning rate of the step at `epoch` (fractional) of `epochs`; warm-up is at most half of training."""
    warmup = min(schedule.warmup_epochs, epochs / 2)
    return peak * SCHEDULES[schedule.name](schedule.model_copy(update={"warmup_epochs": warmup}), epoch, epochs)


def one_cycle(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:
    """Cosine warm-up from 1/25, then cosine decay to almost 0 (Smith 2018, arXiv:1708.07120)."""
    if epoch < schedule.warmup_epochs:
        return _cosine_between(_START, 1.0, epoch / schedule.warmup_epochs)
    return _cosine_between(1.0, _END, (epoch - schedule.warmup_epochs) / (epochs - schedule.warmup_epochs))


def cosine(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:
    """Linear warm-up from 1/25, then cosine decay to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    if epoch < schedule.warmup_epochs:
        return constant(schedule, epoch, epochs)
    return _cosine_between(1.0, 0.0, (epoch - schedule.warmup_epochs) / (epochs - schedule.warmup_epochs))


def step(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:
    """Linear warm-up from 1/25, then `step_factor` every `step_epochs`."""
    return constant(schedule, epoch, epochs) * schedule.step_factor ** int(epoch / schedule.step_epochs)


def constant(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:  # noqa: ARG001 -- a schedule like the others
    """Linear warm-up from 1/25, then constant."""
    return _START + (1 - _START) * epoch / schedule.warmup_epochs if epoch < schedule.warmup_epochs else 1.0


def _cosine_between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


SCHEDULES: dict[str, Schedule] = {"onecycle": one_cycle, "cosine": cosine, "step": step, "constant": constant}


def ramp(epoch: float, epochs: int, warmup: float) -> float:
    """A linear ramp from 0 to 1 over the first share `warmup` of training."""
    return min(1.0, epoch / (warmup * epochs)) if warmup else 1.0


def resolution_at(config: Config, epoch: float, epochs: int) -> int:
    """The image size at `epoch`, pixels: from `train.start_size` to `data.image_size` after two thirds of training.

    It grows in steps of 16 pixels, as kernels are prepared anew for each size. The last epoch has the full size.
    """
    start, end = config.train.start_size or config.data.image_size, config.data.image_size
    share = min(1.0, epoch / max(1.0, epochs * 2 / 3))
    return end if share == 1.0 or epoch >= epochs - 1 else min(end, start + int((end - start) * share) // 16 * 16)
