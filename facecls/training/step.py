"""One step of training: from a batch of faces to moved weights, without a branch about what is switched on."""

from bisect import bisect_right

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecls import seeding
from facecls.config.schema import Config
from facecls.data.augment import Augment, mix
from facecls.data.sampler import Batch
from facecls.device import Device
from facecls.errors import TrainingError
from facecls.progress import Progress
from facecls.training.distributed import SingleProcess
from facecls.training.schedule import learning_rate, set_rate
from facecls.training.state import TrainingState


class TrainStep:
    """Makes steps; nothing in one makes the device wait for the host."""

    def __init__(
        self,
        config: Config,
        device: Device,
        network: nn.Module,
        *,
        classes: int,
        steps_per_epoch: int,
        group: SingleProcess,
        progress: Progress,
        class_weights: Tensor | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self.network = network  # the state's model, perhaps compiled, perhaps one of a team's
        self.classes = classes
        self.class_weights = None if class_weights is None else device.send(class_weights)  # (C,), of the loss
        self.steps_per_epoch = steps_per_epoch
        self.group = group
        self.progress = progress
        self.augment = Augment(config.augment)
        self.micro_batches = config.train.accumulate

    def step(self, state: TrainingState, batch: Batch, size: int) -> None:
        """One update along the gradient of the batch's mean loss, on images of `size` pixels.

        The gradient is added up from `train.accumulate` pieces of the batch. A device that runs out of memory gets twice as
        many from then on: the gradient of the same mean, but batch norm, the partners of mixing and what dropout drops go by
        pieces, so that with these it is another one, and what ran of the pass that failed has moved batch norm's running
        statistics. Raises TrainingError where that does not help, and where a piece is too small for batch norm.
        """
        config = self.config
        while True:
            seeding.seed_everything("step", config.seed, state.epoch, batch.step, self.group.rank)  # dropout draws from it
            ran_out: str | None = None
            try:
                self._add_gradients(state, batch, size)
            except torch.OutOfMemoryError as error:
                if self.group.size > 1:  # the others wait in the middle of the step, so that it cannot be taken again
                    raise TrainingError(
                        f"{self.device.torch_device} ran out of memory in process {self.group.rank} of {self.group.size}",
                        hint="a smaller train.batch_size, or more train.accumulate with it, takes less",
                    ) from error
                ran_out = str(error).partition("\n")[0]
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):  # as torch's batch norm says it
                    raise
                raise TrainingError(
                    "batch norm has nothing to go by in a piece of one face",
                    hint="a larger train.batch_size gives each piece of a step more; `model.name: linear` has no batch norm",
                ) from error
            if ran_out is None:
                break
            # After the `except`: until its end the error's traceback holds the failed pass, which is to make room.
            self._halve_pieces(state, batch, ran_out)
        rate = learning_rate(config.schedule, config.optimizer.lr, self._epoch(state, batch), state.epochs)
        set_rate(state.optimizer, state.lr_factor * rate)
        if config.train.clip_norm is not None:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.train.clip_norm)
        # Where `found_inf` is 1, fused optimizers leave the weights alone on the processor and on CUDA; elsewhere some move
        # them, which the loop's looks at the loss take back. With fp16 the scaler sets it itself.
        state.optimizer.found_inf = self.group.any(state.running.non_finite())  # type: ignore[attr-defined]  # as torch's scaler does
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
        state.average.update(state.model)

    def images(self, state: TrainingState, batch: Batch, size: int) -> Tensor:
        """What the network is shown of a batch, but for mixing: float32 (B, 3, size, size) in [0, 1]."""
        return self.augment(batch.faces, batch.draws, size, self._strength(state, batch))

    def _epoch(self, state: TrainingState, batch: Batch) -> float:
        return state.epoch + batch.step / self.steps_per_epoch

    def _strength(self, state: TrainingState, batch: Batch) -> float:
        return ramp(self._epoch(state, batch), state.epochs, self.config.augment.warmup)

    def _add_gradients(self, state: TrainingState, batch: Batch, size: int) -> None:
        config = self.config
        margin = ramp(self._epoch(state, batch), state.epochs, config.head.margin_warmup)
        sums: list[tuple[Tensor, Tensor, Tensor]] = []
        micro_batches = list(batch.micro_batches(self.micro_batches))
        for number, (faces, labels, draws) in enumerate(micro_batches):
            images = self.augment(faces, draws, size, self._strength(state, batch))
            targets = functional.one_hot(labels, self.classes).float()
            place = (config.seed, state.epoch, batch.step, number, self.group.rank)
            images, targets = mix(images, targets, config.augment, place)
            with self.group.together(last=number == len(micro_batches) - 1):
                with self.device.autocast():
                    logits = self.network(images)
                    harder = state.model.head.with_margin(logits, targets, margin)
                    loss = functional.cross_entropy(
                        harder, targets, weight=self.class_weights, label_smoothing=config.loss.label_smoothing
                    )
                # Of the mean over the batch's faces of all processes, which the team averages.
                share = len(labels) * self.group.size / batch.global_size
                state.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]  # torch's stub
            sums.append((loss.detach(), logits.detach(), labels))
        for piece in sums:
            state.running.add(*piece)

    def _halve_pieces(self, state: TrainingState, batch: Batch, said: str) -> None:
        state.optimizer.zero_grad()
        if self.micro_batches >= len(batch.labels):
            raise TrainingError(
                f"{self.device.torch_device}: its memory does not hold one face in training: {said}",
                hint="train on smaller images (data.image_size), or a smaller model (`facecls models`)",
            )
        self.micro_batches = min(2 * self.micro_batches, len(batch.labels))
        torch.cuda.empty_cache()
        self.progress.note(
            f"{self.device.torch_device} ran out of memory: the {len(batch.labels)} images of a step are now split into "
            f"{self.micro_batches} micro-batches of {-(-len(batch.labels) // self.micro_batches)}, which batch norm, mixup, "
            "cutmix and dropout then see"
        )


def ramp(epoch: float, epochs: int, warmup: float) -> float:
    """What has grown from 0 to 1 at `epoch`, if it grows evenly over the share `warmup` of training."""
    return min(1.0, epoch / (warmup * epochs)) if warmup else 1.0


def resolution_at(config: Config, epoch: int, epochs: int) -> int:
    """The side of the images in an epoch: from `train.start_size` up to `data.image_size` after two thirds of training.

    It goes in steps of 16 pixels: each new size costs the kernels a new preparation. The last epoch has the full size.
    """
    start, end = config.train.start_size or config.data.image_size, config.data.image_size
    share = min(1.0, epoch / max(1.0, epochs * 2 / 3))
    return end if share == 1.0 or epoch >= epochs - 1 else min(end, start + int((end - start) * share) // 16 * 16)


def pixels_seen(config: Config, until: int, epochs: int) -> int:
    """The pixels, of one image in each, of the first `until` of `epochs` epochs."""
    pixels = epoch = 0
    while epoch < until:
        size = resolution_at(config, epoch, epochs)
        # Images never shrink, so the epochs of one size are counted without going through each.
        end = bisect_right(range(until), size, lo=epoch, key=lambda later: resolution_at(config, later, epochs))
        pixels += (end - epoch) * size**2
        epoch = end
    return pixels
