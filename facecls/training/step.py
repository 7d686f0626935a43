"""One optimizer step: augmentation, forward and backward pass, update."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecls import seeding
from facecls.config.schema import Config
from facecls.data.augment import Augment, mix
from facecls.data.sampler import Batch
from facecls.device import Device
from facecls.errors import TrainingError
from facecls.models.classifier import FaceClassifier
from facecls.progress import Reporter
from facecls.training.distributed import ProcessGroup
from facecls.training.losses import LOSSES
from facecls.training.optimizer import set_lr
from facecls.training.schedule import learning_rate, ramp
from facecls.training.state import TrainingState


class _WithEmbeddings(nn.Module):
    """(B, 3, S, S) to logits (B, C) and embeddings (B, F) in one call, as DDP and torch.compile need it."""

    def __init__(self, model: FaceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.model.embed(images)
        return self.model.classify(embeddings), embeddings


class TrainStep:
    """Makes optimizer steps; nothing in one makes the host wait for the device.

    `class_weights` (C,) weigh the loss; `compiled` runs the model through torch.compile.
    """

    def __init__(
        self,
        config: Config,
        device: Device,
        model: FaceClassifier,
        *,
        classes: int,
        steps_per_epoch: int,
        group: ProcessGroup,
        progress: Reporter,
        class_weights: Tensor | None = None,
        compiled: bool = False,
    ) -> None:
        network = group.wrap(_WithEmbeddings(model), device)
        self.network = cast(nn.Module, torch.compile(network)) if compiled else network
        self.config = config
        self.device = device
        self.classes = classes
        self.class_weights = None if class_weights is None else device.send(class_weights)
        self.steps_per_epoch = steps_per_epoch
        self.group = group
        self.progress = progress
        self.augment = Augment(config.augment)
        self.loss = LOSSES[config.loss.name]
        self.micro_batches = config.train.accumulate

    def step(self, state: TrainingState, batch: Batch, size: int) -> None:
        """One update along the gradient of the batch's mean loss, on images of `size` pixels.

        The gradient is accumulated over `train.accumulate` micro-batches. On out-of-memory their number is doubled from then
        on; batch norm, mixup, cutmix and dropout then see smaller micro-batches, and the failed pass has updated some of
        batch norm's running statistics. Raises TrainingError if that does not help, if there are several processes, and if a
        micro-batch of one image is too small for batch norm.
        """
        config = self.config
        while True:
            seeding.seed_everything("step", config.seed, state.epoch, batch.step, self.group.rank)  # for dropout
            out_of_memory: str | None = None
            try:
                self._accumulate_gradients(state, batch, size)
            except torch.OutOfMemoryError as error:
                if self.group.size > 1:  # the other ranks wait in this step, so it cannot be repeated
                    raise TrainingError(
                        f"{self.device.torch_device} ran out of memory on rank {self.group.rank} of {self.group.size}",
                        hint="use a smaller train.batch_size, and a larger train.accumulate for the same batch",
                    ) from error
                out_of_memory = str(error).partition("\n")[0]
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):  # the message of torch's batch norm
                    raise
                raise TrainingError(
                    "batch norm needs more than one image per micro-batch",
                    hint="use a larger train.batch_size, or a model without batch norm (`model.name: linear`)",
                ) from error
            if out_of_memory is None:
                break
            # After the `except`: until it ends, the traceback keeps the tensors of the failed pass alive.
            self._double_micro_batches(state, batch, out_of_memory)
        lr = learning_rate(config.schedule, config.optimizer.lr, self._epoch(state, batch), state.epochs)
        set_lr(state.optimizer, state.lr_factor * lr)
        if config.train.clip_norm is not None:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.train.clip_norm)
        # Fused optimizers on CPU and CUDA skip the update if `found_inf` is 1; elsewhere the loop's rollback undoes it. With
        # fp16 the scaler sets it, for which the first steps are skipped on purpose.
        if not state.scaler.is_enabled():
            found_inf = self.group.all_reduce_any(torch.maximum(state.running.non_finite(), _non_finite_gradient(state.model)))
            state.running.skipped += found_inf
            state.optimizer.found_inf = found_inf  # type: ignore[attr-defined]  # as torch's scaler does
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
        state.average.update(state.model)

    def images(self, state: TrainingState, batch: Batch, size: int) -> Tensor:
        """The augmented images of a batch before mixup and cutmix: float32 (B, 3, size, size) in [0, 1]."""
        return self.augment(batch.faces, batch.draws, size, self._strength(state, batch))

    def _epoch(self, state: TrainingState, batch: Batch) -> float:
        return state.position(batch.step / self.steps_per_epoch)

    def _strength(self, state: TrainingState, batch: Batch) -> float:
        return ramp(self._epoch(state, batch), state.epochs, self.config.augment.warmup)

    def _accumulate_gradients(self, state: TrainingState, batch: Batch, size: int) -> None:
        config = self.config
        margin = ramp(self._epoch(state, batch), state.epochs, config.head.margin_warmup)
        results: list[tuple[Tensor, Tensor, Tensor]] = []
        micro_batches = list(batch.micro_batches(self.micro_batches))
        for number, (faces, labels, draws) in enumerate(micro_batches):
            images = self.augment(faces, draws, size, self._strength(state, batch))
            targets = functional.one_hot(labels, self.classes).float()
            place = (config.seed, state.epoch, batch.step, number, self.group.rank)
            images, targets = mix(images, targets, config.augment, place)
            with self.group.no_sync(number < len(micro_batches) - 1):
                with self.device.autocast():
                    logits, embeddings = self.network(images)
                    with_margin = state.model.head.with_margin(logits, targets, margin)
                    loss = self.loss(with_margin, embeddings, targets, config.loss, self.class_weights)
                # The mean over the images of all ranks, over which DDP averages.
                share = len(labels) * self.group.size / batch.global_size
                state.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]  # torch's stub
            results.append((loss.detach(), logits.detach(), labels))
        for result in results:
            state.running.add(*result)

    def _double_micro_batches(self, state: TrainingState, batch: Batch, error: str) -> None:
        state.optimizer.zero_grad()
        images = len(batch.labels)
        if self.micro_batches >= images:
            raise TrainingError(
                f"{self.device.torch_device}: not enough memory to train on one image: {error}",
                hint="use a smaller data.image_size, or a smaller model (`facecls models`)",
            )
        self.micro_batches = min(2 * self.micro_batches, images)
        torch.cuda.empty_cache()
        self.progress.note(
            f"{self.device.torch_device} ran out of memory: the {images} images of a step are now split into "
            f"{self.micro_batches} micro-batches of {-(-images // self.micro_batches)}, which batch norm, mixup, "
            "cutmix and dropout then see"
        )


def _non_finite_gradient(model: FaceClassifier) -> Tensor:
    """1.0 if the gradient's norm is NaN or infinite, else 0.0, on the device."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return 1.0 - torch.nn.utils.get_total_norm(gradients).isfinite().float()
