"""Classes: too few images, too uneven, names that will be mixed up."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from facecls.check.findings import AuditedImages, Finding, Item, named
from facecls.check.findings import images as count_images

FEW = 5
"""Images to train on, below which a class is hardly learned."""

UNEVEN = 3.0
"""The largest class's images to train on over the smallest's, from which on balancing pays."""


def few_images(images: AuditedImages) -> Iterator[Finding]:
    """Classes with few images to train on; grave where there is none."""
    counts = images.counts("train")
    few = [number for number in np.argsort(counts, kind="stable").tolist() if counts[number] < FEW]
    if few:
        yield Finding(
            "few images",
            bool(counts[few[0]] == 0),
            f"{len(few)} {'class has' if len(few) == 1 else 'classes have'} fewer than {FEW} images to train on",
            "add images, or leave these classes out",
            tuple(Item((), f"{images.classes[number]}: {count_images(counts[number])}") for number in few),
        )


def imbalance(images: AuditedImages) -> Iterator[Finding]:
    """Classes of very different sizes."""
    counts = images.counts("train")
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if counts[smallest] == 0 or counts[largest] < UNEVEN * counts[smallest]:
        return
    ratio, most = counts[largest] / counts[smallest], counts[largest] / counts.sum()
    yield Finding(
        "imbalance",
        False,
        f"`{images.classes[largest]}` has {ratio:.1f} times the images of `{images.classes[smallest]}` "
        f"({counts[largest]} and {counts[smallest]}); who always says the largest is right {most:.1%} of the time",
        "train with --set data.balance=sampler (or loss) and --set train.best=val_macro_f1, and compare macro F1",
        tuple(
            Item((), f"{images.classes[number]}: {count_images(counts[number])}")
            for number in np.argsort(-counts, kind="stable")
        ),
    )


def numeric_names(images: AuditedImages) -> Iterator[Finding]:
    """Classes called 1, 2, 10, which whoever sorts names as text numbers in another order (1, 10, 2)."""
    numbers = [name for name in images.classes if name.isdecimal()]
    as_text = sorted(numbers)
    if as_text == sorted(numbers, key=int):
        return
    yield Finding(
        "numeric names",
        False,
        f"classes are called by numbers that sort otherwise as text ({named(as_text, 3)}): here they are in the order of the "
        "numbers, in torchvision's ImageFolder and other tools in that of the text",
        "compare classes by name, never by number, or fill the names up with zeros",
        tuple(Item((), name) for name in numbers),
    )


def similar_names(images: AuditedImages) -> Iterator[Finding]:
    """Classes whose names differ only in case, in surrounding spaces or in Unicode's form: one class under two names."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in images.classes:
        alike[unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()].append(name)
    found = [names for names in alike.values() if len(names) > 1]
    if found:
        yield Finding(
            "similar names",
            True,
            f"{len(found)} group{'s' * (len(found) != 1)} of classes differ only in case or Unicode form: "
            + "; ".join(" and ".join(f"`{_visible(name)}`" for name in names) for names in found[:5]),
            "put the images of each group into one folder",
            tuple(Item((), " / ".join(_visible(name) for name in names)) for names in found),
        )


def _visible(name: str) -> str:
    """The name; where it is not in Unicode's composed form, with its parts spelled out, or both would look the same."""
    if name.isascii() or name == unicodedata.normalize("NFC", name):
        return name
    return name.encode("ascii", "backslashreplace").decode()
