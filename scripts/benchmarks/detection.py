"""Share of images in which a detector finds a face, milliseconds an image, and faces it finds where there are none.

    scripts/bench detection [FOLDER ...] [--detector yunet] [--limit 1000] [--people 24] [--backgrounds 200] [--size 112]
                            [--turns]

Each row is measured with and without the detector's retries, on one thread; milliseconds are medians without decoding. The
synthetic faces and the images without people (backdrops of synthetic faces, and textures) are drawn from fixed seeds. With
--turns also prints how many of the images with a face are taken for turned as they are, and for upright when they are turned.
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facecls.errors import ImageError
from facecls.faces.align import align
from facecls.faces.decode import SUFFIXES, open_image
from facecls.faces.detect import DETECTORS, Detector, DetectorOptions, build_detector, main_face
from facecls.faces.photograph import Photograph, find_upright
from facecls.processor import processor
from facecls.synthetic.draw import draw_face
from facecls.synthetic.draw.brush import OVERSAMPLING, Brush, Pose
from facecls.synthetic.draw.scene import draw_backdrop
from facecls.synthetic.people import random_person, random_photograph

Pixels = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="*", help="images in any depth")
    parser.add_argument("--detector", choices=list(DETECTORS), default="yunet")
    parser.add_argument("--limit", type=int, help="images of each folder, evenly spread over it; default all")
    parser.add_argument("--people", type=int, default=24, help="number of synthetic people, ten images each")
    parser.add_argument("--backgrounds", type=int, default=200, help="number of images without people")
    parser.add_argument("--size", type=int, default=112, help="side of the aligned faces whose time is measured")
    parser.add_argument("--turns", action="store_true", help="also turn the images of the folders")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    detectors = [build_detector(args.detector, DetectorOptions(retry=retry)) for retry in (True, False)]
    print(f"{args.detector}, {processor()}, 1 thread, OpenCV {cv2.__version__}")
    print(f"{'':28}{'images':>8}{'found':>10}{'several':>10}{'faces':>8}{'ms':>8}{'ms align':>10}")
    for folder in args.folder:
        print_row(folder.name, read_images(folder, args.limit), detectors, args.size)
        if args.turns:
            print_turns(read_images(folder, args.limit), detectors[0])
    print_row("synthetic", synthetic_faces(args.people), detectors, args.size)
    print_row("without people", backgrounds(args.backgrounds), detectors, args.size)


def print_row(name: str, images: Iterable[Pixels], detectors: list[Detector], size: int) -> None:
    """Measures both detectors on the same images and prints a line for each."""
    counts: list[list[int]] = [[] for _ in detectors]
    times: list[list[float]] = [[] for _ in detectors]
    align_times: list[list[float]] = [[] for _ in detectors]
    for image in images:
        for number, detect in enumerate(detectors):
            start = time.perf_counter()
            faces = detect(image)
            found = time.perf_counter()
            counts[number].append(len(faces))
            times[number].append(found - start)
            if faces:
                align(image, main_face(faces, image.shape[1], image.shape[0]), size)
                align_times[number].append(time.perf_counter() - found)
    for number, label in enumerate((name, f"{name}, no retries")):
        faces_each = np.array(counts[number])
        print(
            f"{label:28}{len(faces_each):8,}{(faces_each > 0).mean():10.2%}{(faces_each > 1).mean():10.2%}"
            f"{faces_each.mean():8.3f}{np.median(times[number]) * 1e3:8.1f}"
            f"{np.median(align_times[number] or [np.nan]) * 1e3:10.2f}",
            flush=True,
        )


def print_turns(images: Iterable[Pixels], detector: Detector) -> None:
    """Prints what `find_upright`, as `facecls prepare --rotate` calls it, says of upright and of turned images."""
    wrong, count = dict.fromkeys((0, 90, 180, 270), 0), 0
    for image in images:
        if not detector(image):
            continue
        count += 1
        for degrees in wrong:  # by which the image is turned counterclockwise
            photograph = Photograph(np.ascontiguousarray(np.rot90(image, degrees // 90)), DetectorOptions())
            turn = find_upright(photograph, photograph.faces(detector), detector, always=True)[2]
            wrong[degrees] += turn != degrees
    shares = ", ".join(f"{degrees} degrees {number / count:.1%}" for degrees, number in wrong.items())
    print(f"  of {count:,} images with a face a wrong turn is found when turned by: {shares}", flush=True)


def read_images(folder: Path, limit: int | None) -> Iterator[Pixels]:
    """The images below a folder; those that cannot be read are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in paths[:: max(1, len(paths) // limit) if limit else 1]:
        try:
            yield np.asarray(open_image(path))
        except ImageError as error:
            print(error)


def synthetic_faces(people: int) -> Iterator[Pixels]:
    """Ten images of each person, as `facecls demo-faces` draws them."""
    for person in range(people):
        for number in range(10):
            yield np.asarray(draw_face(random_person(0, person), random_photograph(0, person, number)).convert("RGB"))


def backgrounds(count: int) -> Iterator[Pixels]:
    """Images of 640 x 480 without people: backdrops of synthetic faces and textures in turn."""
    for number in range(count):
        rng = np.random.default_rng((0, number))
        yield backdrop(number, rng) if number % 2 == 0 else texture(rng)


def backdrop(number: int, rng: np.random.Generator) -> Pixels:
    """The backdrop of a synthetic photograph."""
    photograph = random_photograph(0, number, 0)
    canvas = Image.new("RGB", (photograph.width * OVERSAMPLING, photograph.height * OVERSAMPLING))
    draw_backdrop(Brush(canvas, Pose(random_person(0, number), photograph)), photograph, rng)
    return np.asarray(canvas.resize((640, 480)))


def texture(rng: np.random.Generator) -> Pixels:
    """Noise of several scales in random colours, sometimes quantised to patches or mixed with a grating."""
    total = np.zeros((480, 640))
    for cells in (4, 12, 40, 120):
        noise = Image.fromarray(rng.normal(size=(cells * 3 // 4, cells)).astype(np.float32))
        total += rng.uniform() * np.asarray(noise.resize((640, 480), Image.Resampling.BICUBIC))
    if rng.uniform() < 0.3:
        y, x = np.mgrid[:480, :640]
        total += np.sin((x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) * rng.uniform(0.05, 1))
    if rng.uniform() < 0.3:
        total = np.round(total * 2) / 2
    first, second = rng.uniform(0, 255, (2, 3))
    share = (total - total.min()) / np.ptp(total)
    return np.asarray(first + (second - first) * share[..., None], dtype=np.uint8)


if __name__ == "__main__":
    main()
