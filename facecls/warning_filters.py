"""Filters for warnings that say nothing to a user of the command line."""

import warnings


def ignore_image_warnings() -> None:
    """Ignores Pillow's warnings of odd metadata, which is not used, and of large images, for which there are limits of our own.

    For the rest of the process: `warnings.catch_warnings` around each call would change the filters of all threads. Pillow's
    deprecation warnings are not ignored.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(\w+ImagePlugin|Image)$")
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb", category=RuntimeWarning)
