"""Check for shortcuts: whether file and image sizes alone predict the class."""

from collections.abc import Iterator

import numpy as np

from facecls.check.findings import AuditedImages, Finding
from facecls.data.duplicates.match import exact_pairs
from facecls.text import name_list

ABOVE_CHANCE = 0.1
"""Balanced accuracy above chance from which file and image sizes count as a shortcut."""

_MOST = 20_000  # images that the tree is fitted and scored on
_FOLDS = 5
_STANDARD_ERRORS = 4.0  # by which the accuracy must also be above chance; matters for small data sets
_DEPTH = 4


def shortcut(images: AuditedImages) -> Iterator[Finding]:
    """Cross-validates a small decision tree on width, height, file size and format alone.

    A model that learns such a cue instead of the face fails on images from another source (shortcut learning, Geirhos et
    al. 2020).
    """
    usable = images.readable.copy()
    usable[exact_pairs(images.stats)[:, 1]] = False  # the tree would classify a copy in another fold correctly
    chosen = np.flatnonzero(usable)
    if len(chosen) > _MOST:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, _MOST, replace=False))
    labels = images.labels[chosen]
    counts = np.bincount(labels, minlength=len(images.classes))
    enough = np.flatnonzero(counts >= _FOLDS)
    chosen = chosen[np.isin(labels, enough)]
    if len(enough) < 2:
        return
    table = images.stats.table[chosen]
    labels = images.labels[chosen]
    pixels = table["width"].astype(float) * table["height"]
    _, format_number = np.unique(table["format"], return_inverse=True)
    columns = {
        "width": table["width"],
        "height": table["height"],
        "aspect ratio": table["width"] / table["height"],
        "file size": table["bytes"],
        "bytes per pixel": table["bytes"] / pixels,
        "format": format_number,
    }
    varying = {name: column for name, column in columns.items() if len(np.unique(column)) > 1}
    if not varying:
        return
    features = np.column_stack(list(varying.values()))

    # Imported here: the import takes longer than an audit with cached image statistics.
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_FOLDS, class_weight="balanced", random_state=0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(tree, features, labels, cv=folds)
    accuracy, chance = float(balanced_accuracy_score(labels, predicted)), 1 / len(enough)
    error = float(np.sqrt((chance * (1 - chance) / counts[enough]).sum()) / len(enough))
    if accuracy - chance < max(ABOVE_CHANCE, _STANDARD_ERRORS * error):
        return
    importance = tree.fit(features, labels).feature_importances_
    names = [name for name, weight in sorted(zip(varying, importance, strict=True), key=lambda pair: -pair[1]) if weight > 0.1]
    yield Finding(
        "shortcut",
        "warning",
        f"a decision tree on {name_list(names)} alone, without the pixels, predicts the class with a balanced accuracy of "
        f"{accuracy:.0%} (chance {chance:.0%})",
        "save all images in one size, format and quality, and take them from one kind of source, or a model may learn the "
        "source instead of the face",
    )
