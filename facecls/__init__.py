"""facecls: a folder of face photographs in, a trained face classifier out.

The public API is `load`, `train`, `evaluate`, `Classifier`, `Prediction`, `TrainedRun` and the errors in `facecls.errors`;
docs/python.md shows it. Everything else is private and may change.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = ("Classifier", "Prediction", "TrainedRun", "evaluate", "load", "train")

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    """Imports the public API when it is first used: it needs torch, which takes seconds."""
    if name in _PUBLIC:
        return getattr(importlib.import_module("facecls.api"), name)
    raise AttributeError(f"module `facecls` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
