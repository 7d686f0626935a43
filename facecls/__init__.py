"""facecls: a folder of face photographs in, a trained face classifier out.

The public API is what is listed below and the errors in `facecls.errors`; docs/python.md shows it. Everything else is private
and may change.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "data": ("FaceCounts", "SuggestedConfig", "check_config", "prepare_faces", "suggest_config", "write_faces"),
    "evaluation": ("Comparison", "Evaluation", "Page", "compare", "evaluate", "write_report"),
    "inference": ("Classifier", "Prediction", "load"),
    "training": ("CrossValidation", "TrainedRun", "cross_validate", "train"),
    "runs": ("runs",),
}
_MODULES = {name: f"facecls.api.{module}" for module, names in _PUBLIC.items() for name in names}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    """Imports a part of the public API when it is first used: torch and scikit-learn take seconds."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module `facecls` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
