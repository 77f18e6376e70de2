"""The errors of ib_keras: each says what is invalid, what was expected, what was received."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class IbKerasError(Exception):
    """Base class of every error that ib_keras raises on purpose.

    Args:
        invalid: what is invalid, a sentence without its full stop.
        expected: what was expected.
        received: what was received.
    """

    def __init__(self, invalid: str, expected: str, received: object) -> None:
        self.invalid = invalid
        self.expected = expected
        self.received = received
        super().__init__(f"{invalid}. Expected {expected}. Received: {received}")

    def __reduce__(self) -> tuple:
        return type(self), (self.invalid, self.expected, self.received)


class ArgumentError(IbKerasError, ValueError):
    """An argument has a value that cannot be used."""


class InfiniteError(ArgumentError):
    """An information is infinite, because one variable determines part of another exactly."""


class StoreError(IbKerasError, ValueError):
    """A file or folder is not what it should be: no store, damaged, or of another schema."""


class DataUnavailableError(IbKerasError, OSError):
    """A data set could not be downloaded."""

    # OSError formats (errno, strerror) by itself when it is given two arguments.
    def __str__(self) -> str:
        return f"{self.invalid}. Expected {self.expected}. Received: {self.received}"


class MissingExtraError(IbKerasError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, feature: str, package: str, extra: str) -> MissingExtraError:
        """The error for ``feature``, which needs ``package`` from the extra ``extra``."""
        return cls(
            f"{feature} needs `{package}`",
            f"the package to be installed: pip install 'ib-keras[{extra}]'",
            f"no module named {package!r}",
        )


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a long computation; what it had done is kept here.

    Args:
        done: what was done, a sentence without its full stop.
        table: the table so far.

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
