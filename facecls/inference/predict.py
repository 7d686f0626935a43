"""A trained classifier at work: images in, names and probabilities out, in the order of the images."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from facecls.checkpoint import Checkpoint
from facecls.config.schema import UNKNOWN
from facecls.device import Device, available_cores
from facecls.errors import ImageError
from facecls.evaluation.infer import BATCH, forward_batches
from facecls.faces.geometry import Geometry, read_face
from facecls.models.classifier import FaceClassifier
from facecls.models.mkldnn import for_inference
from facecls.open_set.outputs import Outputs
from facecls.prefetch import prefetched

Face: TypeAlias = NDArray[np.uint8] | ImageError  # (S, S, 3), or why there is none
Verdict: TypeAlias = tuple[NDArray[np.float64], bool]  # calibrated probabilities (C,), and whether it is one of ours
Answer: TypeAlias = tuple[str, Verdict | ImageError]  # of an image

_IN_WORK = 2 * BATCH  # faces that are computed at the same time, by all workers
_LEAST_BATCH = 8  # smaller ones cost more each than another core saves


@dataclass(frozen=True)
class Prediction:
    """What an image shows; for one that could not be read, `error` says why and the rest is empty."""

    path: str
    label: str | None = None  # a class, or UNKNOWN
    probability: float | None = None  # of the nearest class, calibrated: right so often, if it is one of ours
    top: tuple[tuple[str, float], ...] = ()  # the likeliest classes, in order
    error: str | None = None
    nearest: str | None = None  # the likeliest class, also where the label is UNKNOWN
    known: bool | None = None  # whether it is taken for one of ours


class Predictor:
    """A checkpoint's classifier, ready to name images.

    No image is UNKNOWN with `unknown` false, nor from the checkpoint of a training that has not ended, whose probabilities
    are not calibrated either. `mirrored` takes the mean of an image and its mirror image.
    """

    def __init__(self, checkpoint: Checkpoint, device: Device, *, unknown: bool = True, mirrored: bool = False) -> None:
        self.name = checkpoint.model.name
        self.classes = checkpoint.classes
        self.geometry: Geometry = checkpoint.geometry
        self.device = device
        self.model: FaceClassifier = checkpoint.build(device)  # as it was trained, with gradients
        self._model = for_inference(self.model, device)
        calibration = checkpoint.calibration_for(mirrored=mirrored)
        self.calibration = calibration if unknown else replace(calibration, threshold=None)
        self.mirrored = mirrored

    def predict(self, paths: Sequence[str], top_k: int = 1) -> Iterator[Prediction]:
        """Names each image, with its `top_k` likeliest classes, in order; reads and computes ahead in threads."""
        on_cpu = self.device.type == "cpu"
        for answers in self._in_workers(paths) if on_cpu else map(self._answers, prefetched(self.read(paths))):
            for path, answer in answers:
                if isinstance(answer, ImageError):
                    yield Prediction(path, error=answer.reason)
                else:
                    yield self._named(path, *answer, top_k)

    def _answers(self, images: list[tuple[str, Face]]) -> list[Answer]:
        """What is to be said of a batch of images."""
        faces = [face for _, face in images if not isinstance(face, ImageError)]
        verdicts = self._verdicts(np.stack(faces)) if faces else iter(())
        return [(path, face if isinstance(face, ImageError) else next(verdicts)) for path, face in images]

    def _verdicts(self, faces: NDArray[np.uint8]) -> Iterator[Verdict]:
        outputs = self.outputs(faces)
        shares = self.calibration.probabilities(outputs.logits)
        return zip(shares, self.calibration.accepts(outputs).tolist(), strict=True)

    def _in_workers(self, paths: Sequence[str]) -> Iterator[list[Answer]]:
        """The batches of the images, judged by as many threads as torch has, each on one core from file to verdict.

        Readers beside a network that computes with all cores would make each of its threads wait for the slowest one:
        measured on two cores, that left half of the speed. More cores get smaller batches, down to _LEAST_BATCH, so that
        the memory grows with them only beyond that.
        """
        threads = torch.get_num_threads()
        size = max(_LEAST_BATCH, min(BATCH, _IN_WORK // threads, -(-len(paths) // threads)))

        def answer(start: int) -> list[Answer]:
            return self._answers([(path, self._face(path)) for path in paths[start : start + size]])

        pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))
        try:
            left = iter(range(0, len(paths), size))
            answering = deque(pool.submit(answer, start) for start in islice(left, 2 * threads))
            while answering:
                yield answering.popleft().result()
                answering.extend(pool.submit(answer, start) for start in islice(left, 1))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # the workers' number is also that of threads to come

    def outputs(self, faces: NDArray[np.uint8]) -> Outputs:
        """Uint8 faces (B, S, S, 3) to logits (B, C) and features (B, F)."""
        images = self.device.images(torch.from_numpy(faces))
        return forward_batches(self._model, [images], self.device, mirrored=self.mirrored)

    def _named(self, path: str, shares: NDArray[np.float64], known: bool, top_k: int) -> Prediction:
        likeliest = np.argsort(-shares, kind="stable")[:top_k]
        top = tuple((self.classes[number], float(shares[number])) for number in likeliest)
        nearest, probability = top[0]
        return Prediction(path, nearest if known else UNKNOWN, probability, top, nearest=nearest, known=known)

    def read(self, paths: Iterable[str]) -> Iterator[list[tuple[str, Face]]]:
        """Batches of images in their order, each with its face or the reason why there is none."""
        left = iter(paths)
        with ThreadPoolExecutor(available_cores()) as pool:
            reading: deque[tuple[str, Future[Face]]] = deque()
            while True:
                reading.extend((path, pool.submit(self._face, path)) for path in islice(left, 2 * BATCH - len(reading)))
                if not reading:
                    return
                yield [(path, future.result()) for path, future in (reading.popleft() for _ in range(min(BATCH, len(reading))))]

    def _face(self, path: str) -> Face:
        try:
            return read_face(path, self.geometry)
        except ImageError as error:
            return error
