"""Checks of the classes: too few images, imbalance, ambiguous names."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from facecls.check.findings import AuditedImages, Finding, Item
from facecls.text import name_list, plural

FEW = 5
"""Training images below which a class is hard to learn."""

UNEVEN = 3.0
"""Ratio of the training images of the largest and the smallest class from which balancing usually helps."""


def few_images(images: AuditedImages) -> Iterator[Finding]:
    """Classes with fewer than FEW training images; an error if one has none."""
    counts = images.class_counts("train")
    few = [number for number in np.argsort(counts, kind="stable").tolist() if counts[number] < FEW]
    if few:
        yield Finding(
            "few images",
            "error" if counts[few[0]] == 0 else "warning",
            f"{len(few)} {'class has' if len(few) == 1 else 'classes have'} fewer than {FEW} training images",
            "add images, or leave these classes out",
            tuple(Item((), f"{images.classes[number]}: {plural(counts[number], 'image')}") for number in few),
        )


def imbalance(images: AuditedImages) -> Iterator[Finding]:
    """Classes that differ in size by UNEVEN times or more."""
    counts = images.class_counts("train")
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if counts[smallest] == 0 or counts[largest] < UNEVEN * counts[smallest]:
        return
    ratio, majority = counts[largest] / counts[smallest], counts[largest] / counts.sum()
    yield Finding(
        "imbalance",
        "warning",
        f"`{images.classes[largest]}` has {ratio:.1f} times the training images of `{images.classes[smallest]}` "
        f"({counts[largest]} and {counts[smallest]}); always predicting the largest class has an accuracy of {majority:.1%}",
        "train with --set data.balance=sampler (or loss) and --set train.best=val_macro_f1, and compare macro F1",
        tuple(
            Item((), f"{images.classes[number]}: {plural(counts[number], 'image')}")
            for number in np.argsort(-counts, kind="stable")
        ),
    )


def numeric_names(images: AuditedImages) -> Iterator[Finding]:
    """Class names such as 1, 2, 10 whose numeric order differs from their text order (1, 10, 2)."""
    numbers = [name for name in images.classes if name.isdecimal()]
    as_text = sorted(numbers)
    if as_text == sorted(numbers, key=int):
        return
    yield Finding(
        "numeric names",
        "info",
        f"class names are numbers whose text order ({name_list(as_text, 3)}) is not their numeric order; facecls sorts them as "
        "numbers, torchvision's ImageFolder and other tools as text",
        "compare classes by name, not by index, or pad the names with zeros",
        tuple(Item((), name) for name in numbers),
    )


def similar_names(images: AuditedImages) -> Iterator[Finding]:
    """Class names that differ only in case, surrounding spaces or Unicode form: probably one class under two names."""
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for name in images.classes:
        by_key[unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()].append(name)
    groups = [names for names in by_key.values() if len(names) > 1]
    if groups:
        yield Finding(
            "similar names",
            "error",
            f"{plural(len(groups), 'group')} of class names that differ only in case, spaces or Unicode form: "
            + "; ".join(" and ".join(f"`{_escaped(name)}`" for name in names) for names in groups[:5]),
            "put the images of each group into one folder",
            tuple(Item((), " / ".join(_escaped(name) for name in names)) for names in groups),
        )


def _escaped(name: str) -> str:
    """The name, with escaped code points if it is not in Unicode's composed form (NFC) and so may look like another name."""
    if name.isascii() or name == unicodedata.normalize("NFC", name):
        return name
    return name.encode("ascii", "backslashreplace").decode()
