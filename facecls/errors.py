"""The tree of errors that a user can put right; the command line prints them without a traceback."""


class FaceclsError(Exception):
    """What went wrong (one line per problem), and what to do about it.

    `problems` are printed as `error:` lines, `hint` (its lines, if it has several) as `hint:` lines after a blank one.
    """

    def __init__(self, problem: str, *more: str, hint: str = "") -> None:
        super().__init__(problem, *more)
        self.problems = (problem, *more)
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(self.problems)


class ConfigError(FaceclsError):
    """A config file or a `--set` says something that cannot be."""


class DataError(FaceclsError):
    """A folder of images that cannot be trained on or scored as it is."""


class ImageError(DataError):
    """An image that cannot be read; `path` is the file and `reason` says why, without the path."""

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str, str]]:
        """Another process gets it whole: pickle would call it with its message alone."""
        return type(self), (self.path, self.reason, self.hint)


class ModelError(FaceclsError):
    """A model that the registry does not know or cannot build."""


class CheckpointError(FaceclsError):
    """A file that is no checkpoint of ours, or not a whole one."""


class RunError(FaceclsError):
    """A run folder that cannot be used: taken, missing, in use, or not writable."""


class DeviceError(FaceclsError):
    """A device or a precision that this machine does not have."""


class TrainingError(FaceclsError):
    """A training that cannot go on."""


class InstallError(FaceclsError):
    """Packages that are missing or do not fit together."""
