"""The errors that a user can fix; the command line prints them without a traceback.

FaceclsError
    UsageError
    ConfigError
    DataError
        ImageError
    ModelError
    CheckpointError
    RunError
    DeviceError
    TrainingError
    InstallError
"""


class FaceclsError(Exception):
    """`problems`, one line each, are printed as `error:`; `hint` says what to do, is printed as `hint:` and may be empty."""

    exit_code = 1

    def __init__(self, problem: str, *more: str, hint: str = "") -> None:
        super().__init__(problem, *more)
        self.problems = (problem, *more)
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(self.problems)


class UsageError(FaceclsError):
    """Raised for an unknown option."""

    exit_code = 2


class ConfigError(FaceclsError):
    """Raised for an invalid config file or `--set`."""


class DataError(FaceclsError):
    """Raised for a folder of images that cannot be used as it is."""


class ImageError(DataError):
    """Raised for an image that cannot be read: `path` is the file, `reason` the message without the path."""

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str, str]]:
        """Pickles all arguments; by default only the message would be passed to another process."""
        return type(self), (self.path, self.reason, self.hint)


class NoFaceError(ImageError):
    """Raised for an image in which no face was found."""


class ModelError(FaceclsError):
    """Raised for a model that is not in the registry or cannot be built."""


class CheckpointError(FaceclsError):
    """Raised for a file that is not a complete facecls checkpoint."""


class RunError(FaceclsError):
    """Raised for a run directory or output that cannot be used: it exists, is missing, is in use or is not writable."""


class DeviceError(FaceclsError):
    """Raised for a device or a precision that this machine does not have."""


class TrainingError(FaceclsError):
    """Raised when training cannot continue."""


class InstallError(FaceclsError):
    """Raised for packages that are missing or incompatible with each other."""
