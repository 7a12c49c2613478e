"""Errors of fastclust. All derive from :class:`FastclustError`, so one ``except`` clause catches them.

Input errors are also ``ValueError`` or ``TypeError``, as scikit-learn's users and checks expect. Each carries what is
needed to send it over a wire and raise it again on the other side: a stable ``reason`` and the offending field.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "FastclustError",
    "InputError",
    "InputTypeError",
    "MissingPackageError",
    "OperationCancelledError",
]


class FastclustError(Exception):
    """Root of all errors that fastclust raises on purpose."""

    #: Stable and machine readable, UPPER_SNAKE_CASE.
    reason: str = "FASTCLUST_ERROR"


class _FieldError(FastclustError):
    """An error about one named argument: what came, what is allowed, what to do."""

    def __init__(self, field: str, came: object, allowed: str, fix: str = "") -> None:
        self.field = field
        self.came = str(came)
        self.allowed = allowed
        self.fix = fix
        sentence = f"{field}: got {self.came}; allowed: {allowed}."
        super().__init__(f"{sentence} {fix}" if fix else sentence)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.field, self.came, self.allowed, self.fix)


class InputError(_FieldError, ValueError):
    """A value that is not allowed: NaN, a wrong shape, ``n_clusters`` above the number of rows.

    Parameters
    ----------
    field
        The argument as its caller wrote it, such as ``"n_clusters"``.
    came
        What came. Kept short: a shape, a dtype, a number; never a whole array.
    allowed
        What is allowed.
    fix
        What to do, as a sentence; may be empty.
    """

    reason = "INVALID_INPUT"


class InputTypeError(_FieldError, TypeError):
    """An argument of a type or dtype that is not allowed."""

    reason = "INVALID_TYPE"


class BackendError(FastclustError, ValueError):
    """An explicitly requested backend, device or index cannot run this request; the message gives all reasons."""

    reason = "BACKEND_UNSUPPORTED"


class MissingPackageError(FastclustError, ImportError):
    """An optional package is needed and not installed; the message gives the command that installs it."""

    reason = "MISSING_PACKAGE"


class OperationCancelledError(FastclustError):
    """The work was asked to stop, and did."""

    reason = "CANCELLED"
