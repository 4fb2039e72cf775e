"""The errors of the system, as one tree.

    SpyError                       exit code 1
    ├── ConfigError                2   a setting, a flag or a file of settings is wrong
    ├── SourceError                3   a vendor did not give what was asked for
    │   ├── SourceUnavailable          time-out, reset, 5xx or 429 after all retries
    │   ├── EmptyResponse              an empty 200
    │   ├── WrongContent               HTML where JSON or CSV was due, truncated bodies
    │   ├── SchemaDrift                a column was renamed, added or is missing
    │   ├── BudgetExceeded             the request budget of the run is spent
    │   ├── ForbiddenRedirect          a redirect to a private address
    │   └── NotProvided                the source has no such data set
    ├── DataError                  3   data was fetched but may not be published
    │   ├── CheckFailed
    │   └── NaiveTimestamp
    ├── WarehouseError             4
    │   ├── LockTimeout
    │   ├── SchemaVersionError
    │   ├── ProfileMismatch
    │   ├── ChecksumMismatch
    │   ├── CatalogueCorrupt
    │   ├── UnsafeQuery
    │   ├── QueryTimeout
    │   └── SnapshotExpired
    └── ModelError                 5
        ├── ModelFileMismatch
        ├── ContractMismatch
        ├── NonFiniteOutput
        └── RegistryUnavailable

An error says what happened with which value; ``hint`` says how to mend it.
"""

from __future__ import annotations

#: Between what happened and what to do, where an error is text.
_MEND = "\n  mend: "


class SpyError(Exception):
    """Base of every error that the system raises on purpose.

    Parameters
    ----------
    message
        What happened, with the offending value in it.
    hint
        What the user can do about it, as an instruction.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}{_MEND}{self.hint}" if self.hint else self.message

    @property
    def origin(self) -> SpyError:
        """The error that this one passes on; by itself it passes on none."""
        return self


class ConfigError(SpyError):
    """One or more settings are wrong; the message lists all of them."""

    exit_code = 2


class SourceError(SpyError):
    """A vendor did not give what was asked for."""

    exit_code = 3


class SourceUnavailable(SourceError):
    """A time-out, a reset connection, or an error status that outlasted the retries."""


class EmptyResponse(SourceError):
    """A response without a body, which is never read as "no data"."""


class WrongContent(SourceError):
    """The body is not what it says it is: HTML, or cut off."""


class SchemaDrift(SourceError):
    """The columns are not the expected ones; the message shows the difference."""


class BudgetExceeded(SourceError):
    """The run used up the number of requests that it may make."""


class ForbiddenRedirect(SourceError):
    """The vendor redirected to an address that is not public."""


class NotProvided(SourceError):
    """The source does not have the data set at all."""


class DataError(SpyError):
    """Data was fetched but must not be published."""

    exit_code = 3


class CheckFailed(DataError):
    """A blocking check on the data failed."""


class NaiveTimestamp(DataError):
    """A timestamp came without a time zone."""


class WarehouseError(SpyError):
    """The warehouse could not be opened, read or written."""

    exit_code = 4


class LockTimeout(WarehouseError):
    """Another writer held the lock for too long; the message names it."""


class SchemaVersionError(WarehouseError):
    """The stored schema is newer, or too old, for this version of the program."""


class ProfileMismatch(WarehouseError):
    """The profile was made with another source."""


class ChecksumMismatch(WarehouseError):
    """A data file is not the one that was written."""


class CatalogueCorrupt(WarehouseError):
    """The catalogue fails its own integrity check."""


class UnsafeQuery(WarehouseError):
    """The query does more than read."""


class QueryTimeout(WarehouseError):
    """The query ran longer than it may."""


class SnapshotExpired(WarehouseError):
    """The snapshot asked for is no longer kept."""


class ModelError(SpyError):
    """A model could not be trained, registered, loaded or asked."""

    exit_code = 5


class ModelFileMismatch(ModelError):
    """The model file is not the one that was registered."""


class ContractMismatch(ModelError):
    """The observation differs from the contract that the model was trained on."""


class NonFiniteOutput(ModelError):
    """The model gave NaN or infinity."""


class RegistryUnavailable(ModelError):
    """The model registry does not answer."""


def from_text(name: str, text: str) -> SpyError | None:
    """The error of which the class name and the text are left, as a run's log keeps them.

    >>> from_text("EmptyResponse", str(EmptyResponse("no row", hint="ask later")))
    EmptyResponse('no row')
    """
    kind = globals().get(name)
    if not isinstance(kind, type) or not issubclass(kind, SpyError):
        return None
    message, _, hint = text.partition(_MEND)
    return kind(message, hint=hint or None)
