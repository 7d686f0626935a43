"""One step of training: from a batch of faces to moved weights, without a branch about what is switched on."""

import torch
from torch.nn import functional

from facecls import chance
from facecls.compute import Compute
from facecls.config import Config
from facecls.data.augment import Augment, mix
from facecls.data.batches import Batch
from facecls.training.optim import learning_rate
from facecls.training.state import TrainingState


class Stepper:
    """Makes steps; nothing in one makes the device wait for the host."""

    def __init__(self, config: Config, compute: Compute, classes: int, steps_per_epoch: int) -> None:
        self.config = config
        self.compute = compute
        self.classes = classes
        self.steps_per_epoch = steps_per_epoch
        self.augment = Augment(config.augment)

    def step(self, state: TrainingState, batch: Batch, size: int) -> None:
        """One update, from `train.accumulate` pieces of the batch, on pictures of `size` pixels."""
        config = self.config
        chance.seed_everything("step", config.seed, state.epoch, batch.step)  # dropout draws from it
        epoch = state.epoch + batch.step / self.steps_per_epoch
        strength = margin_strength(config, epoch, state.epochs)
        for number, (faces, labels, draws) in enumerate(batch.pieces(config.train.accumulate)):
            images = self.augment(faces, draws, size)
            targets = functional.one_hot(labels, self.classes).float()
            images, targets = mix(images, targets, config.augment, (config.seed, state.epoch, batch.step, number))
            with self.compute.autocast():
                logits = state.model(images)
                harder = state.model.head.with_margin(logits, targets, strength)
                loss = functional.cross_entropy(harder, targets, label_smoothing=config.loss.label_smoothing)
            state.scaler.scale(loss * (len(labels) / len(batch.labels))).backward()  # type: ignore[no-untyped-call]  # torch's stub
            state.tally.add(loss.detach(), logits.detach(), labels)
        self._update(state, epoch)

    def _update(self, state: TrainingState, epoch: float) -> None:
        config = self.config
        rate = state.lr_factor * learning_rate(config.schedule, config.optimizer.lr, epoch, state.epochs)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        if config.train.clip_norm is not None:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.train.clip_norm)
        # Fused optimizers leave the weights alone where `found_inf` is 1; with fp16 the scaler sets it itself.
        state.optimizer.found_inf = state.tally.broken()  # type: ignore[attr-defined]  # as torch's own scaler does
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
        state.average.update(state.model)


def margin_strength(config: Config, epoch: float, epochs: int) -> float:
    """How much of the head's margin holds at `epoch`: it grows from 0 to 1 over `head.margin_warmup` of training."""
    warmup = config.head.margin_warmup * epochs
    return min(1.0, epoch / warmup) if warmup else 1.0


def size_at(config: Config, epoch: int, epochs: int) -> int:
    """The side of the pictures in an epoch: from `train.start_size` up to `data.image_size` after two thirds of training.

    It goes in steps of 16 pixels: each new size costs the kernels a new preparation.
    """
    start, end = config.train.start_size or config.data.image_size, config.data.image_size
    share = min(1.0, epoch / max(1.0, epochs * 2 / 3))
    return end if share == 1.0 else min(end, start + int((end - start) * share) // 16 * 16)
