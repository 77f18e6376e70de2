"""The errors of ib_keras; each says what is invalid, what was expected and what was received."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class IbKerasError(Exception):
    """Base class of the errors that ib_keras raises.

    Args:
        invalid: what is invalid, as a sentence without a full stop.
        expected: the expected value, or what to do.
        received: the received value.
    """

    def __init__(self, invalid: str, expected: str, received: object) -> None:
        self.invalid = invalid
        self.expected = expected
        self.received = received
        super().__init__(f"{invalid}. Expected {expected}. Received: {received}")

    def __reduce__(self) -> tuple:
        return type(self), (self.invalid, self.expected, self.received)


class ArgumentError(IbKerasError, ValueError):
    """An argument has an invalid value."""


class InfiniteError(ArgumentError):
    """A mutual information is infinite, because one variable determines part of another exactly."""


class StoreError(IbKerasError, ValueError):
    """A file or folder is missing, damaged, or of another kind or version."""


class DataUnavailableError(IbKerasError, OSError):
    """A data set could not be downloaded."""

    # OSError has its own format for its arguments.
    def __str__(self) -> str:
        return f"{self.invalid}. Expected {self.expected}. Received: {self.received}"


class MissingExtraError(IbKerasError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, feature: str, package: str, extra: str) -> MissingExtraError:
        """Return the error for a feature that needs ``package``, which ``extra`` installs."""
        return cls(
            f"{feature} needs `{package}`",
            f"the package to be installed: pip install 'ib-keras[{extra}]'",
            f"no module named {package!r}",
        )


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a long computation; the exception holds the results so far.

    Args:
        done: what was computed, as a sentence without a full stop.
        table: the table of the results so far.

    Example, in a notebook after Ctrl-C::

        import sys
        table = sys.last_value.table
    """

    def __init__(self, done: str, table: pd.DataFrame) -> None:
        self.done = done
        self.table = table
        super().__init__(f"{done}; they are in the `table` of this exception")

    def __reduce__(self) -> tuple:
        return type(self), (self.done, self.table)
