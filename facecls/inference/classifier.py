"""`Classifier`: classifies images with a checkpoint, and embeds them; one object may be used from several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from facecls.checkpoint import Checkpoint
from facecls.config.schema import UNKNOWN
from facecls.device import Device, available_cores
from facecls.errors import ImageError
from facecls.evaluation.infer import batch_size, forward_batches
from facecls.faces.geometry import Geometry, ImageSource, read_face
from facecls.models.classifier import FaceClassifier
from facecls.models.mkldnn import for_inference
from facecls.open_set.outputs import Outputs
from facecls.open_set.thresholds import Threshold

T = TypeVar("T")
FaceOrError: TypeAlias = NDArray[np.uint8] | ImageError  # (S, S, 3), or why the image cannot be read
Batch: TypeAlias = list[tuple[str, FaceOrError]]  # with the images' paths

_MIN_BATCH = 8  # the overhead of smaller batches exceeds the gain from another core


@dataclass(frozen=True)
class Prediction:
    """The classification of one image; if it cannot be read, only `path` and `error` are set."""

    path: str  # empty if the image was not given by its path
    label: str | None = None  # a class, or `unknown` if the image is rejected
    probability: float | None = None  # of `nearest`, in [0, 1]; calibrated for images of known classes
    top: tuple[tuple[str, float], ...] = ()  # the `top_k` most probable classes and their probabilities, in descending order
    error: str | None = None  # why the image cannot be read
    nearest: str | None = None  # the most probable class, also if the label is `unknown`
    known: bool | None = None  # whether the open-set score passes the threshold


class Classifier:
    """A trained classifier of C classes; `facecls.load` makes one from a run directory or a checkpoint.

    An image is a path, the bytes of an image file, a binary file object, a PIL image, or RGB pixels as a uint8 array
    (H, W, 3). No image is rejected as `unknown` if `unknown` is false or the checkpoint was saved before training ended; the
    probabilities of the latter are uncalibrated. `mirrored` averages each image's outputs with those of its mirror image.

    Classifying changes nothing of the process, and several threads may do it at once. The size of batches changes
    probabilities by float rounding: in fp32 by a relative error of about 1e-5.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: Device,
        *,
        unknown: bool = True,
        mirrored: bool = False,
        source: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.source = source  # the run directory or the file of the checkpoint, if it is known
        self.classes = checkpoint.classes  # in the order of probabilities
        self.geometry: Geometry = checkpoint.geometry
        self.device = device
        self.model: FaceClassifier = checkpoint.build(device)  # as trained; unlike `_model` it can compute gradients
        self._model = for_inference(self.model, device)
        calibration = checkpoint.calibration_for(mirrored=mirrored)
        self.calibration = calibration if unknown else replace(calibration, threshold=None)
        self.mirrored = mirrored
        self._batch = batch_size(device, self.geometry.image_size)
        self._unknown = unknown

    def __repr__(self) -> str:
        source = "" if self.source is None else f" of {self.source}"
        name, side = self.checkpoint.model.name, self.geometry.image_size
        return f"<Classifier{source}: {name}, {len(self.classes)} classes, {side} pixels, {self.device}>"

    @property
    def threshold(self) -> Threshold | None:
        """The rejection threshold of the open-set score; None: no image is rejected."""
        return self.calibration.threshold

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the checkpoint and the options, without device and precision: they change only digits."""
        return self.checkpoint.fingerprint(self._unknown, self.mirrored)

    def predict(self, images: ImageSource | Iterable[ImageSource], top_k: int = 1) -> list[Prediction]:
        """Classifies one image or several: a prediction for each, in order, with its `top_k` most probable classes.

        An image that cannot be read gets a prediction with `error`. Raises TypeError for an object that is no image, ValueError
        for a `top_k` below 1.
        """
        return list(self.stream(images, top_k))

    def stream(self, images: ImageSource | Iterable[ImageSource], top_k: int = 1) -> Iterator[Prediction]:
        """As `predict`, but yields the predictions as they are made, so that any number of images takes little memory."""
        if top_k < 1:
            raise ValueError(f"top_k is at least 1, got {top_k}")
        for predictions in self.map_batches(images, lambda batch: self._predict_batch(batch, top_k)):
            yield from predictions

    def embed(self, images: ImageSource | Iterable[ImageSource]) -> NDArray[np.float32]:
        """The embeddings (N, F) of N images: the features before the head.

        Raises ImageError for the first image that cannot be read, TypeError for an object that is no image.
        """
        found = list(self.map_batches(images, self._embed_batch))
        if not found:
            side = self.geometry.image_size
            return self.forward(np.zeros((1, side, side, 3), np.uint8)).features[:0]
        return np.concatenate(found)

    def map_batches(self, images: ImageSource | Iterable[ImageSource], function: Callable[[Batch], T]) -> Iterator[T]:
        """Applies `function` to batches of decoded images; on a CPU in one worker for each of the caller's torch threads.

        Each worker reads and classifies batches with a single thread. With separate reader threads, the threads of each
        operation would wait for the slowest one: measured on two cores, that halved the speed. Batches shrink as the number of
        workers grows, down to _MIN_BATCH, to bound memory: until then all workers together hold two full batches.
        """
        remaining: Iterator[ImageSource] = iter(_listed(images))
        if self.device.type != "cpu":
            yield from map(function, self.read(remaining))
            return
        threads = torch.get_num_threads()
        first = list(islice(remaining, self._batch * threads))
        if len(first) == 1:  # with all threads
            yield function([(_path_of(first[0]), self._read(first[0]))])
            return
        size = max(_MIN_BATCH, min(self._batch, 2 * self._batch // threads, -(-len(first) // threads)))
        all_images = chain(first, remaining)

        def read_and_apply(batch: list[tuple[str, ImageSource]]) -> T:
            return function([(path, self._read(image)) for path, image in batch])

        pool = ThreadPoolExecutor(threads, initializer=_use_one_thread)
        pending: deque[Future[T]] = deque()
        try:
            while True:
                while len(pending) < 2 * threads and (
                    batch := [(_path_of(image), image) for image in islice(all_images, size)]
                ):
                    pending.append(pool.submit(read_and_apply, batch))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def forward(self, faces: NDArray[np.uint8]) -> Outputs:
        """Maps faces, uint8 (B, S, S, 3), to logits (B, C) and features (B, F)."""
        images = self.device.images(torch.from_numpy(faces))
        return forward_batches(self._model, [images], self.device, mirrored=self.mirrored)

    def read(self, images: Iterable[ImageSource]) -> Iterator[Batch]:
        """Yields batches of (path, face or error) in the order of `images`, which are decoded ahead in threads."""
        remaining = iter(images)
        with ThreadPoolExecutor(available_cores()) as pool:
            reading: deque[tuple[str, Future[FaceOrError]]] = deque()
            while True:
                free = 2 * self._batch - len(reading)
                reading.extend((_path_of(image), pool.submit(self._read, image)) for image in islice(remaining, free))
                if not reading:
                    return
                batch = [reading.popleft() for _ in range(min(self._batch, len(reading)))]
                yield [(path, future.result()) for path, future in batch]

    def _read(self, image: ImageSource) -> FaceOrError:
        try:
            return read_face(image, self.geometry)
        except ImageError as error:
            return error

    def _embed_batch(self, images: Batch) -> NDArray[np.float32]:
        for _, face in images:
            if isinstance(face, ImageError):
                raise face
        return self.forward(np.stack([face for _, face in images if not isinstance(face, ImageError)])).features

    def _predict_batch(self, images: Batch, top_k: int) -> list[Prediction]:
        faces = [face for _, face in images if not isinstance(face, ImageError)]
        if not faces:
            return [Prediction(path, error=face.reason) for path, face in images if isinstance(face, ImageError)]
        outputs = self.forward(np.stack(faces))
        classified = zip(
            self.calibration.probabilities(outputs.logits), self.calibration.accepts(outputs).tolist(), strict=True
        )
        return [
            Prediction(path, error=face.reason)
            if isinstance(face, ImageError)
            else self._prediction(path, *next(classified), top_k)
            for path, face in images
        ]

    def _prediction(self, path: str, probabilities: NDArray[np.float64], known: bool, top_k: int) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        top = tuple((self.classes[index], float(probabilities[index])) for index in order)
        nearest, probability = top[0]
        return Prediction(path, nearest if known else UNKNOWN, probability, top, nearest=nearest, known=known)


def _use_one_thread() -> None:
    """Limits torch's operations in the calling thread to one thread; torch.set_num_threads would limit later threads, too."""
    torch.get_num_threads()  # sets the thread's limit to that of the process, once
    threadpool_limits(1, user_api="openmp")


def _listed(images: Any) -> Iterable[ImageSource]:
    """The images as an iterable: one image is an iterable, too, of its letters, bytes, lines or rows."""
    single = isinstance(images, str | os.PathLike | bytes | Image.Image) or hasattr(images, "read")
    if single or (isinstance(images, np.ndarray) and images.ndim <= 3) or not isinstance(images, Iterable):
        return [images]
    return images


def _path_of(image: object) -> str:
    """The path of an image, or an empty text; raises TypeError for an object that is no image."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image) if isinstance(image, str) else str(Path(image))
    if isinstance(image, bytes | Image.Image | np.ndarray) or hasattr(image, "read"):
        return ""
    raise TypeError(f"an image is a path, bytes, a file object, a PIL image or a uint8 array, not {type(image).__name__}")
