"""From a folder of pictures to batches of faces."""

from facecls.errors import InstallError

try:
    import torchvision  # noqa: F401 -- only to see whether it fits torch, before anything here needs it
except (ImportError, OSError, RuntimeError) as error:
    import torch

    raise InstallError(
        f"torchvision does not fit torch {torch.__version__}: {str(error).splitlines()[0]}",
        hint="both must come from one build: `pip install --force-reinstall torch torchvision`",
    ) from error
