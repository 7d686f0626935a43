"""Finds exact copies, by hash, and near-duplicates, by difference hash and similarity after registration.

A near-duplicate is the same photograph saved again: in another format or quality, resized, brighter or darker, cropped by a
few per cent, mirrored. Two photographs of one person in the same light are not near-duplicates.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.data.duplicates.image_stats import ImageStats, compute_image_stats
from facecls.data.duplicates.registration import similarity
from facecls.device import available_cores
from facecls.progress import ProgressBar

Pairs = NDArray[np.int64]  # (P, 2), the first index of each smaller than the second

FLAT_SPREAD = 6.0
"""Standard deviation of grey, of 0..255: images below it have too little detail to be matched."""

_MAX_BITS = 60  # of 256: pairs of hashes that differ in more bits are not candidates
_MIN_CORRELATION = 0.75  # of two grey thumbnails before registration: candidates below it are dropped

# The similarity of near-duplicates by the shorter side of the smaller image in pixels: 0.75 up to 48, 0.94 from 80, linear
# between. In images of 48 pixels the finest details are compression noise, which copies do not share.
_MIN_SIMILARITY = ((48, 0.75), (80, 0.94))

_ORDERS = 24  # sort orders of the hashes, each by another subset of bits
_KEY_BITS = 64  # in a subset
_NEIGHBOURS = 12  # compared with each hash in each order
_BLOCK = 1 << 14  # pairs compared at once, to bound the memory
_ONE_ROUND = 1024  # pairs up to which all are registered in one round


def near_duplicate_groups(
    paths: Sequence[str], progress_bar: ProgressBar | None = None, cache_dir: Path | None = None
) -> NDArray[np.int64]:
    """The group of each image, (N,): the first image that exact or near-duplicate pairs link it to.

    An unreadable image is its own group. Image statistics are cached in `cache_dir` (None: the user's cache folder).
    """
    stats = compute_image_stats(paths, progress_bar, cache_dir)
    return connected_components(len(stats), np.concatenate([exact_pairs(stats), near_duplicate_pairs(stats)]))


def exact_pairs(stats: ImageStats, field: str = "pixel_hash") -> Pairs:
    """Pairs of images with equal pixels (equal files with `file_hash`): of k copies, the k - 1 pairs with the first."""
    readable = np.flatnonzero(stats.table["readable"])
    _, first, copy_of = np.unique(stats.table[field][readable], return_index=True, return_inverse=True)
    originals = readable[first[copy_of]]
    copies = originals != readable
    return np.stack([originals[copies], readable[copies]], axis=1)


def near_duplicate_pairs(stats: ImageStats) -> Pairs:
    """Pairs of near-duplicates whose pixels differ; of exact copies only the first is considered.

    Takes O(N log N): candidates are neighbours in several sort orders of the hashes. Not every pair among many
    near-duplicates of one photograph is returned, but enough to connect them.
    """
    usable = stats.table["readable"] & (stats.table["spread"] >= FLAT_SPREAD)
    usable[exact_pairs(stats)[:, 1]] = False
    members = np.flatnonzero(usable)
    # Sorted by content, so that the result does not depend on the order of the images.
    members = members[np.argsort(stats.table["pixel_hash"][members], kind="stable")]
    found = _verified(stats.table[members], *_candidates(stats.table["dhash"][members]))
    return np.unique(np.sort(members[found], axis=1), axis=0).reshape(-1, 2)


def _verified(table: NDArray[Any], pairs: Pairs, mirrored: NDArray[np.bool_]) -> Pairs:
    """The candidate pairs of rows of STATS_DTYPE that are near-duplicates; the second image of a `mirrored` pair is flipped.

    Works in rounds: each compares, for every image, the first of its pairs that earlier rounds have not connected, so that a
    thousand frames of one scene take a few thousand comparisons.
    """
    (small, least_small), (large, least_large) = _MIN_SIMILARITY
    least = np.interp(np.minimum(table["width"], table["height"]), [small, large], [least_small, least_large])

    def thumbs(chosen: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        one, other = table["thumb"][pairs[chosen, 0]], table["thumb"][pairs[chosen, 1]]
        flipped = mirrored[chosen]
        other[flipped] = other[flipped, :, ::-1]
        return one, other

    blocks = [np.arange(start, min(start + _BLOCK, len(pairs))) for start in range(0, len(pairs), _BLOCK)]
    left = np.concatenate([np.empty(0, np.int64), *(block[_correlated(*thumbs(block))] for block in blocks)])
    found = np.empty((0, 2), np.int64)
    while len(left):
        now = left
        if len(left) > _ONE_ROUND:
            now = left[np.union1d(*(np.unique(pairs[left, side], return_index=True)[1] for side in (0, 1)))]
        enough = least[pairs[now]].min(axis=1)
        same = similarity(*thumbs(now), enough) >= enough
        found = np.concatenate([found, pairs[now[same]]])
        component = connected_components(len(table), found)
        left = np.setdiff1d(left, now)
        left = left[component[pairs[left, 0]] != component[pairs[left, 1]]]
    return found


def _correlated(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pairs of thumbnails correlate enough to be registered, (P,)."""
    return np.asarray(np.einsum("pij,pij->p", _normalised(one), _normalised(other)) >= _MIN_CORRELATION)


def connected_components(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """The connected component of each of `count` images, (count,): the smallest index in it."""
    from scipy.sparse import coo_array, csgraph  # the import takes 0.15 s

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, first, component = np.unique(
        csgraph.connected_components(graph, directed=False)[1], return_index=True, return_inverse=True
    )
    return first[component]


def _candidates(hashes: NDArray[np.uint8]) -> tuple[Pairs, NDArray[np.bool_]]:
    """Pairs of hashes (N, 32) that differ in few bits, and whether one of the two was mirrored for that."""
    count = len(hashes)
    bits = np.unpackbits(hashes, axis=1)
    # The hash of the mirrored image: each row reversed and negated.
    bits = np.concatenate([bits, 1 - bits.reshape(-1, 16, 16)[:, :, ::-1].reshape(-1, 256)])
    words = np.packbits(bits, axis=1).view(np.uint64)  # (2N, 4)

    def in_one_order(seed: int) -> NDArray[np.int64]:
        chosen = np.random.default_rng(seed).permutation(256)[:_KEY_BITS]
        order = np.argsort(np.packbits(np.take(bits, chosen, axis=1), axis=1).view(">u8").ravel(), kind="stable")
        found = [np.empty((0, 2), np.int64)]
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            close = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= _MAX_BITS
            found.append(np.stack([left[close], right[close]], axis=1))
        return np.concatenate(found)

    with ThreadPoolExecutor(available_cores()) as pool:
        pairs = np.concatenate(list(pool.map(in_one_order, range(_ORDERS))))
    # Two mirrored hashes are the pair of the originals; an image and its own mirror image are not a pair.
    mirrored = (pairs[:, 0] >= count) != (pairs[:, 1] >= count)
    pairs = np.sort(pairs % max(count, 1), axis=1)
    rows = np.unique(np.column_stack([pairs, mirrored])[pairs[:, 0] != pairs[:, 1]], axis=0)
    return rows[:, :2], rows[:, 2].astype(bool)


def _normalised(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (P, S, S) with mean 0 and Euclidean norm 1."""
    values = thumbs.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= np.sqrt(np.einsum("pij,pij->p", values, values))[:, None, None] + 1e-6
    return values
