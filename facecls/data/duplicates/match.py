"""Which images are the same photograph: exact copies by their hashes, near-duplicates by a difference hash and a second look.

A near-duplicate is a photograph saved again: in another format or quality, resized, brighter or darker, cropped by a few per
cent, mirrored. Two photographs of one person in one light are none, however alike.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.data.duplicates.image_stats import ImageStats, compute_image_stats
from facecls.data.duplicates.registration import similarity
from facecls.data.stores.worker import available_cores
from facecls.progress import ProgressBar

Pairs = NDArray[np.int64]  # (P, 2), the first number of each smaller than the second

MOST_BITS = 60
"""Of 256: images whose hashes differ in more are not compared any further."""

MIN_CORRELATION = 0.75
"""Of two grey thumbnails as they lie, below which they are not compared any further."""

MIN_SIMILARITY = ((48, 0.75), (80, 0.94))
"""What `likeness` makes a near-duplicate, by the smaller image's shorter side in pixels: 0.75 up to 48, 0.94 from 80 on.

In images of 48 pixels the finest details are noise of their compression, which copies do not share.
"""

FLAT_SPREAD = 6.0
"""Standard deviation of grey, of 0..255, below which an image holds too little to be told from another."""

_ORDERS = 24  # sortings of all hashes, each by other bits
_NEIGHBOURS = 12  # that each hash is compared with in each sorting
_KEY_BITS = 64
_BLOCK = 1 << 14  # pairs compared at once, which bounds the memory
_AT_ONCE = 1024  # pairs that are not worth a round of their own


def near_duplicate_groups(
    paths: Sequence[str], progress: ProgressBar | None = None, cache_dir: Path | None = None
) -> NDArray[np.int64]:
    """The group of each image, (N,): the number of the first image that is, over any chain of pairs, the same photograph.

    What cannot be read has a group of its own. Looks are kept in `cache_dir` (None: the user's cache folder).
    """
    stats = compute_image_stats(paths, progress, cache_dir)
    return connected_components(len(stats), np.concatenate([exact_pairs(stats), near_duplicate_pairs(stats)]))


def exact_pairs(stats: ImageStats, field: str = "pixel_hash") -> Pairs:
    """Pairs with the same decoded pixels (or `file_hash`: the same file); of k copies the k - 1 pairs with the first."""
    readable = np.flatnonzero(stats.table["readable"])
    _, first, copy_of = np.unique(stats.table[field][readable], return_index=True, return_inverse=True)
    originals = readable[first[copy_of]]
    copies = originals != readable
    return np.stack([originals[copies], readable[copies]], axis=1)


def near_duplicate_pairs(stats: ImageStats) -> Pairs:
    """Pairs of the same photograph whose pixels differ; of exact copies only the first is looked at.

    The time grows with N log N: in each of several sortings by different bits of the hash an image is compared with its
    neighbours only. Of many near-duplicates of one photograph not every pair is given, but enough to link all.
    """
    exact = exact_pairs(stats)
    usable = stats.table["readable"] & (stats.table["spread"] >= FLAT_SPREAD)
    usable[exact[:, 1]] = False
    members = np.flatnonzero(usable)
    # In an order of their own, so that a split and an audit, which list them differently, find the same.
    members = members[np.argsort(stats.table["pixel_hash"][members], kind="stable")]
    found = _confirmed(stats.table[members], *_candidates(stats.table["dhash"][members]))
    return np.unique(np.sort(members[found], axis=1), axis=0).reshape(-1, 2)


def _confirmed(table: NDArray[Any], pairs: Pairs, mirrored: NDArray[np.bool_]) -> Pairs:
    """Those of the pairs of looks that are the same photograph; the second of a `mirrored` pair is turned over.

    In rounds: in each, every image is compared with the first of its pairs that no earlier rounds have linked already, so
    that a thousand frames of one scene take some thousand comparisons.
    """
    (small, least_small), (large, least_large) = MIN_SIMILARITY
    least = np.interp(np.minimum(table["width"], table["height"]), [small, large], [least_small, least_large])

    def thumbs(chosen: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        one, other = table["thumb"][pairs[chosen, 0]], table["thumb"][pairs[chosen, 1]]
        turned = mirrored[chosen]
        other[turned] = other[turned, :, ::-1]
        return one, other

    blocks = [np.arange(start, min(start + _BLOCK, len(pairs))) for start in range(0, len(pairs), _BLOCK)]
    left = np.concatenate([np.empty(0, np.int64), *(block[_alike(*thumbs(block))] for block in blocks)])
    found = np.empty((0, 2), np.int64)
    while len(left):
        now = left
        if len(left) > _AT_ONCE:
            now = left[np.union1d(*(np.unique(pairs[left, side], return_index=True)[1] for side in (0, 1)))]
        enough = least[pairs[now]].min(axis=1)
        same = similarity(*thumbs(now), enough) >= enough
        found = np.concatenate([found, pairs[now[same]]])
        linked = connected_components(len(table), found)
        left = np.setdiff1d(left, now)
        left = left[linked[pairs[left, 0]] != linked[pairs[left, 1]]]
    return found


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pairs of thumbnails correlate enough for a second look, (P,)."""
    return np.asarray(np.einsum("pij,pij->p", _normalised(one), _normalised(other)) >= MIN_CORRELATION)


def connected_components(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """The connected components of `count` things: for each the smallest number that a chain of pairs leads to.

    In rounds: in each, every component found so far joins the lowest of those that it is paired with, if that is lower than
    itself. Two rounds at least halve the components that are not whole yet, so a long chain takes few.
    """
    labels = np.arange(count)
    while True:
        one, other = labels[pairs[:, 0]], labels[pairs[:, 1]]
        if np.array_equal(one, other):
            return labels
        np.minimum.at(labels, one, other)
        np.minimum.at(labels, other, one)
        while not np.array_equal(labels, further := labels[labels]):
            labels = further


def _candidates(hashes: NDArray[np.uint8]) -> tuple[Pairs, NDArray[np.bool_]]:
    """Pairs of hashes (N, 32) that differ in few bits, and whether that holds for the second's mirror image."""
    count = len(hashes)
    bits = np.unpackbits(hashes, axis=1)
    # Mirrored, a row's differences stand in reverse order with the other sign.
    bits = np.concatenate([bits, 1 - bits.reshape(-1, 16, 16)[:, :, ::-1].reshape(-1, 256)])
    words = np.packbits(bits, axis=1).view(np.uint64)  # (2N, 4)

    def in_one_order(number: int) -> NDArray[np.int64]:
        chosen = np.random.default_rng(number).permutation(256)[:_KEY_BITS]
        order = np.argsort(np.packbits(np.take(bits, chosen, axis=1), axis=1).view(">u8").ravel(), kind="stable")
        found = [np.empty((0, 2), np.int64)]
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            close = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= MOST_BITS
            found.append(np.stack([left[close], right[close]], axis=1))
        return np.concatenate(found)

    with ThreadPoolExecutor(available_cores()) as pool:
        pairs = np.concatenate(list(pool.map(in_one_order, range(_ORDERS))))
    # A pair of mirror images is the pair of the images; one image and its own mirror are no pair.
    mirrored = (pairs[:, 0] >= count) != (pairs[:, 1] >= count)
    pairs = np.sort(pairs % max(count, 1), axis=1)
    rows = np.unique(np.column_stack([pairs, mirrored])[pairs[:, 0] != pairs[:, 1]], axis=0)
    return rows[:, :2], rows[:, 2].astype(bool)


def _normalised(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (P, 32, 32) with mean 0 and length 1."""
    values = thumbs.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= np.sqrt(np.einsum("pij,pij->p", values, values))[:, None, None] + 1e-6
    return values
