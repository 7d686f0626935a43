"""Whether something that is not the face tells the class: then a model learns that, and fails on other images."""

from collections.abc import Iterator

import numpy as np

from facecls.check.findings import AuditedImages, Finding
from facecls.data.duplicates.match import exact_pairs

ABOVE_CHANCE = 0.1
"""Balanced accuracy above chance, from which on file and image sizes count as a shortcut."""

_MOST = 20_000  # images that the rule is learned from
_FOLDS = 5
_ERRORS = 4.0  # standard errors above chance, too: few images say little
_DEPTH = 4


def shortcut(images: AuditedImages) -> Iterator[Finding]:
    """Learns a small tree from width, height, length of the file and format alone, and scores it on images held out."""
    alone = images.readable.copy()
    alone[exact_pairs(images.stats)[:, 1]] = False  # a copy would tell the class of its original
    readable = np.flatnonzero(alone)
    if len(readable) > _MOST:
        readable = np.sort(np.random.default_rng(0).choice(readable, _MOST, replace=False))
    labels = images.labels[readable]
    counts = np.bincount(labels, minlength=len(images.classes))
    enough = np.flatnonzero(counts >= _FOLDS)
    readable = readable[np.isin(labels, enough)]
    if len(enough) < 2:
        return
    table = images.stats.table[readable]
    labels = images.labels[readable]
    pixels = table["width"].astype(float) * table["height"]
    _, format_number = np.unique(table["format"], return_inverse=True)
    columns = {
        "width": table["width"],
        "height": table["height"],
        "shape": table["width"] / table["height"],
        "length of the file": table["bytes"],
        "bytes per pixel": table["bytes"] / pixels,
        "format": format_number,
    }
    varying = {name: column for name, column in columns.items() if len(np.unique(column)) > 1}
    if not varying:
        return
    features = np.column_stack(list(varying.values()))

    # Imported here because it takes longer to import than most data sets take to look at again.
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_FOLDS, class_weight="balanced", random_state=0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    said = cross_val_predict(tree, features, labels, cv=folds)
    recalls = recall_score(labels, said, average=None, zero_division=0.0)
    accuracy, chance = float(recalls.mean()), 1 / len(enough)
    error = float(np.sqrt((chance * (1 - chance) / counts[enough]).sum()) / len(enough))
    if accuracy - chance < max(ABOVE_CHANCE, _ERRORS * error):
        return
    importance = tree.fit(features, labels).feature_importances_
    names = [name for name, weight in sorted(zip(varying, importance, strict=True), key=lambda pair: -pair[1]) if weight > 0.1]
    yield Finding(
        "shortcut",
        False,
        f"without a look at any pixel, {', '.join(names)} tell the class in {accuracy:.0%} of cases (by chance {chance:.0%})",
        "save all images in one size, format and quality, from one kind of source, or a model may learn the source "
        "instead of the face",
    )
