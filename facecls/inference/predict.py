"""`Predictor`: classifies image files with a checkpoint; reading and inference run in threads, in the order of the files."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from facecls.checkpoint import Checkpoint
from facecls.config.schema import UNKNOWN
from facecls.device import Device, available_cores
from facecls.errors import ImageError
from facecls.evaluation.infer import batch_size, forward_batches
from facecls.faces.geometry import Geometry, read_face
from facecls.models.classifier import FaceClassifier
from facecls.models.mkldnn import for_inference
from facecls.open_set.outputs import Outputs
from facecls.prefetch import prefetch

FaceOrError: TypeAlias = NDArray[np.uint8] | ImageError  # (S, S, 3), or why the image cannot be read

_MIN_BATCH = 8  # the overhead of smaller batches exceeds the gain from another core


@dataclass(frozen=True)
class Prediction:
    """The classification of one image; if it cannot be read, only `path` and `error` are set."""

    path: str
    label: str | None = None  # a class, or UNKNOWN if the image is rejected
    probability: float | None = None  # of `nearest`; calibrated for images of known classes
    top: tuple[tuple[str, float], ...] = ()  # the `top_k` most probable classes and their probabilities, in descending order
    error: str | None = None
    nearest: str | None = None  # the most probable class, also if the label is UNKNOWN
    known: bool | None = None  # whether the open-set score passes the threshold


class Predictor:
    """Classifies image files with a checkpoint.

    No image is rejected as UNKNOWN if `unknown` is false or the checkpoint was saved before training ended; the probabilities
    of the latter are uncalibrated. `mirrored` averages each image's outputs with those of its mirror image.

    The number of images and of threads sets the size of batches, on which probabilities depend by float rounding: in fp32 by a
    relative error of about 1e-5.
    """

    def __init__(self, checkpoint: Checkpoint, device: Device, *, unknown: bool = True, mirrored: bool = False) -> None:
        self._checkpoint = checkpoint
        self.name = checkpoint.model.name
        self.classes = checkpoint.classes
        self.geometry: Geometry = checkpoint.geometry
        self.device = device
        self.model: FaceClassifier = checkpoint.build(device)  # as trained; unlike `_model` it can compute gradients
        self._model = for_inference(self.model, device)
        calibration = checkpoint.calibration_for(mirrored=mirrored)
        self.calibration = calibration if unknown else replace(calibration, threshold=None)
        self.mirrored = mirrored
        self._batch = batch_size(device, self.geometry.image_size)
        self._unknown = unknown

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the checkpoint and the options, without device and precision: they change only digits."""
        return self._checkpoint.fingerprint(self._unknown, self.mirrored)

    def predict(self, paths: Sequence[str], top_k: int = 1) -> Iterator[Prediction]:
        """Yields a prediction for each image, in order, with its `top_k` most probable classes."""
        if self.device.type == "cpu":
            yield from self._predict_on_cpu(paths, top_k)
        else:
            for images in prefetch(self.read(paths)):
                yield from self._predict_batch(images, top_k)

    def _predict_on_cpu(self, paths: Sequence[str], top_k: int) -> Iterator[Prediction]:
        """Predicts batches in as many single-threaded workers as torch has threads; each reads and classifies its batch.

        With separate reader threads, the threads of each operation would wait for the slowest one: measured on two cores,
        that halved the speed. Batches shrink as the number of workers grows, down to _MIN_BATCH, to bound memory:
        until then all workers together hold two full batches.
        """
        threads = torch.get_num_threads()
        size = max(_MIN_BATCH, min(self._batch, 2 * self._batch // threads, -(-len(paths) // threads)))

        def predict(start: int) -> list[Prediction]:
            return self._predict_batch([(path, self._read(path)) for path in paths[start : start + size]], top_k)

        pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))
        try:
            starts = iter(range(0, len(paths), size))
            pending = deque(pool.submit(predict, start) for start in islice(starts, 2 * threads))
            while pending:
                yield from pending.popleft().result()
                pending.extend(pool.submit(predict, start) for start in islice(starts, 1))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # the workers' setting also applies to threads that start later

    def _predict_batch(self, images: list[tuple[str, FaceOrError]], top_k: int) -> list[Prediction]:
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

    def forward(self, faces: NDArray[np.uint8]) -> Outputs:
        """Maps faces, uint8 (B, S, S, 3), to logits (B, C) and features (B, F)."""
        images = self.device.images(torch.from_numpy(faces))
        return forward_batches(self._model, [images], self.device, mirrored=self.mirrored)

    def read(self, paths: Iterable[str]) -> Iterator[list[tuple[str, FaceOrError]]]:
        """Yields batches of (path, face or error) in the order of `paths`; files are decoded ahead in threads."""
        remaining = iter(paths)
        with ThreadPoolExecutor(available_cores()) as pool:
            reading: deque[tuple[str, Future[FaceOrError]]] = deque()
            while True:
                free = 2 * self._batch - len(reading)
                reading.extend((path, pool.submit(self._read, path)) for path in islice(remaining, free))
                if not reading:
                    return
                batch = [reading.popleft() for _ in range(min(self._batch, len(reading)))]
                yield [(path, future.result()) for path, future in batch]

    def _read(self, path: str) -> FaceOrError:
        try:
            return read_face(path, self.geometry)
        except ImageError as error:
            return error
