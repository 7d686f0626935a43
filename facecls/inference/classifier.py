"""`Classifier`: classifies images with a checkpoint, and embeds them; one object may be used from several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

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
from facecls.faces.photograph import NO_FACE, CutFace, read_faces
from facecls.models.classifier import FaceClassifier
from facecls.models.mkldnn import for_inference
from facecls.open_set.outputs import Outputs
from facecls.open_set.thresholds import Threshold

T = TypeVar("T")

_MIN_BATCH = 8  # the overhead of smaller batches exceeds the gain from another core
_PHOTOGRAPHS = 8  # to a batch: each takes a tenth of a second to search


@dataclass(frozen=True)
class ReadImage:
    """The faces of an image, as model input; none if it cannot be read or no face was found."""

    path: str  # empty if the image was not given by its path
    faces: Sequence[CutFace] = ()
    error: ImageError | None = None


@dataclass(frozen=True)
class Prediction:
    """The classification of one face; if the image has none or cannot be read, only `path` and `error` are set."""

    path: str  # empty if the image was not given by its path
    label: str | None = None  # a class, or `unknown` if the image is rejected
    probability: float | None = None  # of `nearest`, in [0, 1]; calibrated for images of known classes
    top: tuple[tuple[str, float], ...] = ()  # the `top_k` most probable classes and their probabilities, in descending order
    error: str | None = None  # why the image cannot be read, or NO_FACE
    nearest: str | None = None  # the most probable class, also if the label is `unknown`
    known: bool | None = None  # whether the open-set score passes the threshold
    face: int | None = None  # number of the face in the image, from 0, the main face first; None if faces are not detected
    box: tuple[float, float, float, float] | None = None  # x, y, width and height in pixels of the upright image
    turn: int | None = None  # degrees clockwise by which the image seems to have to be turned to make the faces upright


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
        self._images = self._batch if self.geometry.detection is None else _PHOTOGRAPHS  # to a batch that is read
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
        """Classifies one image or several: a prediction for each face, in order, with its `top_k` most probable classes.

        Without face detection each image is one face. An image that cannot be read, or in which no face was found, gets a
        prediction with `error`. Raises TypeError for an object that is no image, ValueError for a `top_k` below 1.
        """
        return list(self.stream(images, top_k))

    def stream(self, images: ImageSource | Iterable[ImageSource], top_k: int = 1) -> Iterator[Prediction]:
        """As `predict`, but yields the predictions as they are made, so that any number of images takes little memory."""
        for predictions in self.by_image(images, top_k):
            yield from predictions

    def by_image(self, images: ImageSource | Iterable[ImageSource], top_k: int = 1) -> Iterator[list[Prediction]]:
        """As `stream`, but yields the list of each image's predictions, at least one."""
        if top_k < 1:
            raise ValueError(f"top_k is at least 1, got {top_k}")
        for batch in self.map_batches(images, lambda batch: self._predict_batch(batch, top_k)):
            yield from batch

    def embed(self, images: ImageSource | Iterable[ImageSource]) -> NDArray[np.float32]:
        """The embeddings (N, F) of the main faces of N images: the features before the head.

        Raises ImageError for the first image that cannot be read or has no face, TypeError for an object that is no image.
        """
        found = list(self.map_batches(images, self._embed_batch))
        if not found:
            side = self.geometry.image_size
            return self.forward(np.zeros((1, side, side, 3), np.uint8)).features[:0]
        return np.concatenate(found)

    def map_batches(self, images: ImageSource | Iterable[ImageSource], function: Callable[[list[ReadImage]], T]) -> Iterator[T]:
        """Applies `function` to batches of decoded images; on a CPU in one worker for each of the caller's torch threads.

        Each worker reads and classifies batches with a single thread. With separate reader threads, the threads of each
        operation would wait for the slowest one: measured on two cores, that halved the speed. Batches shrink as the number of
        workers grows, down to _MIN_BATCH, to bound memory: until then all workers together hold two full batches. Photographs,
        which take long to search, have smaller ones.
        """
        remaining: Iterator[ImageSource] = iter(_listed(images))
        if self.device.type != "cpu":
            yield from map(function, self.read(remaining))
            return
        threads = torch.get_num_threads()
        first = list(islice(remaining, self._images * threads))
        if len(first) == 1:  # with all threads
            yield function([self.read_one(first[0])])
            return
        least = _MIN_BATCH if self.geometry.detection is None else 1
        size = max(least, min(self._images, 2 * self._images // threads, -(-len(first) // threads)))
        all_images = chain(first, remaining)

        def read_and_apply(batch: list[ImageSource]) -> T:
            return function([self.read_one(image) for image in batch])

        pool = ThreadPoolExecutor(threads, initializer=_use_one_thread)
        pending: deque[Future[T]] = deque()
        try:
            while True:
                while len(pending) < 2 * threads and (batch := list(islice(all_images, size))):
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

    def read(self, images: Iterable[ImageSource]) -> Iterator[list[ReadImage]]:
        """Yields batches of read images in the order of `images`, which are read ahead in threads."""
        remaining = iter(images)
        with ThreadPoolExecutor(available_cores()) as pool:
            reading: deque[Future[ReadImage]] = deque()
            while True:
                free = 2 * self._images - len(reading)
                reading.extend(pool.submit(self.read_one, image) for image in islice(remaining, free))
                if not reading:
                    return
                yield [reading.popleft().result() for _ in range(min(self._images, len(reading)))]

    def read_one(self, image: ImageSource) -> ReadImage:
        """Reads an image and finds the faces in it, if faces are detected."""
        path = _path_of(image)
        try:
            if self.geometry.detection is None:
                return ReadImage(path, [CutFace(read_face(image, self.geometry))])
            return ReadImage(path, read_faces(image, self.geometry))
        except ImageError as error:
            return ReadImage(path, error=error)

    def _embed_batch(self, images: list[ReadImage]) -> NDArray[np.float32]:
        for image in images:
            if image.error is not None:
                raise image.error
        return self.forward(np.stack([image.faces[0].pixels for image in images])).features

    def _predict_batch(self, images: list[ReadImage], top_k: int) -> list[list[Prediction]]:
        pixels = [face.pixels for image in images for face in image.faces]
        classified = chain.from_iterable(
            self._classify(pixels[start : start + self._batch], top_k) for start in range(0, len(pixels), self._batch)
        )
        return [
            [
                replace(next(classified), path=image.path)
                if face.found is None
                else replace(next(classified), path=image.path, face=number, box=face.found.box, turn=face.turn)
                for number, face in enumerate(image.faces)
            ]
            or [Prediction(image.path, error=image.error.reason if image.error is not None else NO_FACE)]
            for image in images
        ]

    def _classify(self, faces: Sequence[NDArray[np.uint8]], top_k: int) -> list[Prediction]:
        outputs = self.forward(np.stack(faces))
        probabilities, accepted = self.calibration.probabilities(outputs.logits), self.calibration.accepts(outputs)
        return [self._prediction(*each, top_k) for each in zip(probabilities, accepted.tolist(), strict=True)]

    def _prediction(self, probabilities: NDArray[np.float64], known: bool, top_k: int) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        top = tuple((self.classes[index], float(probabilities[index])) for index in order)
        nearest, probability = top[0]
        return Prediction("", nearest if known else UNKNOWN, probability, top, nearest=nearest, known=known)


def _use_one_thread() -> None:
    """Limits torch's operations in the calling thread to one thread; torch.set_num_threads would limit later threads, too."""
    torch.get_num_threads()  # sets the thread's limit to that of the process, once
    threadpool_limits(1, user_api="openmp")


def _listed(images: Any) -> Iterable[ImageSource]:
    """The images as an iterable: one image is an iterable, too, of its letters, bytes, lines or rows."""
    if isinstance(images, Mapping) or hasattr(images, "itertuples"):  # whose iterators are of keys and column names
        raise TypeError(f"images are given one by one or in a list, not in a {type(images).__name__}")
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
