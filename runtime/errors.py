"""Every error a user can meet: one root, one class a cause, the exit code beside it.

`docs/errors.md` has an entry for each class (a test compares the two). A subclass also inherits the builtin that a
caller of the Python API would expect. Messages are one line: what was expected, what was found, how to fix it.
"""


class LsdError(Exception):
    """Root of all errors that are the input's, the user's or the machine's, not a bug. Printed as one line."""

    exit_code = 2


class UsageError(LsdError, ValueError):
    """Options that contradict each other or the input."""


class ConfigurationError(LsdError, ValueError):
    """A configuration file with an unknown key or a value of the wrong type."""


class OutputError(LsdError, OSError):
    """The output cannot be written: no permission, disk full, or something is there already."""


# --- bands and tiles -------------------------------------------------------------------------------------------------


class BandError(LsdError, ValueError):
    """A band is unknown, ambiguous, missing or given twice."""

    exit_code = 1


class TileError(LsdError, ValueError):
    """A tile cannot be used: unreadable, truncated, no CRS, disjoint grids, too small, nothing valid."""

    exit_code = 1


class UnprovenUnitError(TileError):
    """The unit, scale or offset of a product is neither proved by its metadata nor declared."""


class SourceError(LsdError, FileNotFoundError):
    """A source path does not exist or holds nothing that can be read as a tile."""


# --- bundles ---------------------------------------------------------------------------------------------------------


class BundleError(LsdError, ValueError):
    """A bundle is incomplete, malformed, of an unknown schema, or reaches outside its own folder."""


class BundleHashError(BundleError):
    """A file of the bundle does not have the content that the manifest promises."""


class BackendError(LsdError, RuntimeError):
    """The backend asked for is not in the bundle or cannot run on this machine."""


class GateError(LsdError, AssertionError):
    """A validation gate was not met: results differ from the reference by more than the tolerance."""

    exit_code = 3


# --- training --------------------------------------------------------------------------------------------------------


class TableError(LsdError, ValueError):
    """A feature table or label file that cannot be trained on."""


class PatchFileError(LsdError, ValueError):
    """A training patch that cannot be read or has another shape than expected."""


class RecipeError(LsdError, ValueError):
    """A training recipe is unknown or malformed."""


class RunFolderError(LsdError, ValueError):
    """A training run folder is incomplete or was made by an unknown schema version."""
