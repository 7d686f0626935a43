"""Whether torchvision fits torch: a pair from two builds fails on import, with words that help nobody."""

from types import ModuleType

import torch

from facecls.errors import InstallError


def require_torchvision() -> ModuleType:
    """torchvision; raises InstallError where it is missing or was built for another torch."""
    try:
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        raise InstallError(
            f"torchvision does not fit torch {torch.__version__}: {str(error).splitlines()[0]}",
            hint="both must come from one build: `pip install --force-reinstall torch torchvision`",
        ) from error
    assert isinstance(torchvision, ModuleType)
    return torchvision
