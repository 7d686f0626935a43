"""Faces in collages: how many `facecls predict` finds, by their width, and how many it classifies correctly.

    scripts/bench collages FACES --checkpoint runs/people/best.pt [--faces 10 30 60] [--count 6] [--seed 0] [--keep FOLDER]

FACES holds CLASS/file of square images with one face in the middle, as in LFW. A collage is 2560 x 1920 pixels; each image is
resized to a random side from 90 pixels to that of its cell. Prints JSON: for each number
of faces, the faces found by their width on the detector's copy of 1280 pixels, the share classified correctly in the collage
and on the single images (n of both: the faces found), and the faces found elsewhere, such as people in the background.
"""

import argparse
import json
import math
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from _conditions import conditions
from PIL import Image

from facecls.checkpoint import read
from facecls.device import configure_process, resolve_device
from facecls.faces.decode import open_image
from facecls.inference.classifier import Classifier
from facecls.inference.sources import find_images
from facecls.run import newest_best

_WIDTH, _HEIGHT, _LEAST_SIDE = 2560, 1920, 90
_COPY = 1280  # longest side of the largest copy that the detector searches


@dataclass(frozen=True)
class Place:
    """An image in a collage."""

    path: str
    x: int
    y: int
    side: int

    @property
    def name(self) -> str:
        return Path(self.path).parent.name

    def bin(self, share: float) -> str:
        """The width on the detector's largest copy of a face that takes `share` of the image's width."""
        width = share * self.side * _COPY / _WIDTH
        return "below 12 px" if width < 12 else "12 to 16 px" if width < 16 else "16 px and more"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="default: best.pt of the newest run")
    parser.add_argument("--faces", type=int, nargs="+", default=[10, 30, 60])
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the collages")
    args = parser.parse_args()
    configure_process(None)
    device = resolve_device("auto", "auto", "inference")
    classifier = Classifier(read(args.checkpoint or newest_best()), device, unknown=False)
    paths, draw = find_images([str(args.folder)]), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = {}
        for number in args.faces:
            collages = [
                collage(folder / f"{number}-{each}.jpg", draw.sample(paths, number), draw) for each in range(args.count)
            ]
            results[f"{number} faces"] = measured(classifier, folder, number, collages)
    print(json.dumps(results | conditions(device), indent=2))


def collage(path: Path, images: list[str], draw: random.Random) -> list[Place]:
    """Writes a collage of the images in cells of equal size."""
    columns = math.ceil(math.sqrt(len(images) * _WIDTH / _HEIGHT))
    width, height = _WIDTH // columns, _HEIGHT // math.ceil(len(images) / columns)
    canvas, places = Image.new("RGB", (_WIDTH, _HEIGHT), (draw.randrange(60, 200),) * 3), []
    for number, image in enumerate(images):
        side = draw.randint(min(_LEAST_SIDE, width, height), min(width, height))
        x = number % columns * width + draw.randint(0, width - side)
        y = number // columns * height + draw.randint(0, height - side)
        canvas.paste(open_image(image).resize((side, side), Image.Resampling.LANCZOS), (x, y))
        places.append(Place(image, x, y, side))
    canvas.save(path, quality=92)
    return places


def measured(classifier: Classifier, folder: Path, number: int, collages: list[list[Place]]) -> dict[str, object]:
    placed, found = Counter[str](), Counter[str]()
    right = right_alone = elsewhere = 0
    for each, places in enumerate(collages):
        faces = [face for face in classifier.predict(folder / f"{number}-{each}.jpg") if face.box is not None]
        elsewhere += len(faces)
        for place in places:
            alone = classifier.predict(place.path)[0]
            with Image.open(place.path) as image:
                width = place.bin(0.0 if alone.box is None else alone.box[2] / image.width)
            placed[width] += 1
            near = [(_distance(face.box, place), face) for face in faces if face.box is not None]
            distance, nearest = min(near, key=lambda pair: pair[0])
            if distance < 0.25 * place.side:
                found[width] += 1
                elsewhere -= 1
                right += nearest.nearest == place.name
                right_alone += alone.nearest == place.name
    n = sum(found.values())
    return {
        "found": {width: [found[width], count] for width, count in sorted(placed.items())},
        "n": n,
        "correct in collages": right / n,
        "correct alone": right_alone / n,
        "found elsewhere": elsewhere,
    }


def _distance(box: tuple[float, float, float, float], place: Place) -> float:
    x, y, width, height = box
    return math.dist((x + width / 2, y + height / 2), (place.x + place.side / 2, place.y + place.side / 2))


if __name__ == "__main__":
    main()
