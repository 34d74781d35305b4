"""The errors that bad input raises, and nothing else."""

from __future__ import annotations


class MmSupervisorError(Exception):
    """Base of every error that this project raises on purpose.

    Its text is one line that a user can act on; a caller may print it as it is.
    """


class FormatError(MmSupervisorError):
    """Bytes that break a rule of their format.

    Attributes:
        file: What was being read: a path, with the decompressed parts it went through.
        offset: Byte offset of the offending field within that part.
        rule: The rule that was broken, as one clause without a full stop.
        source: Where the rule stands, for example "PI 1.8 vol. 3 §3.2.1"; empty if obvious.
    """

    def __init__(self, file: str, offset: int, rule: str, source: str = "") -> None:
        """Record place and rule; see the class for their meaning."""
        self.file = file
        self.offset = offset
        self.rule = rule
        self.source = source
        tail = f" ({source})" if source else ""
        super().__init__(f"{file}: offset {offset:#x}: {rule}{tail}")


class LimitError(FormatError):
    """Input that is legal but asks for more than the bounds given for hostile input allow."""


class SourceError(MmSupervisorError):
    """Text written by a person that breaks a rule of its form.

    Attributes:
        file: The file's name.
        line: Line, counted from 1; 0 if it is about the file as a whole.
        rule: The rule that was broken, as one clause without a full stop.
    """

    def __init__(self, file: str, line: int, rule: str) -> None:
        """Record place and rule; see the class for their meaning."""
        self.file = file
        self.line = line
        self.rule = rule
        super().__init__(f"{file}:{line}: {rule}" if line else f"{file}: {rule}")


class MissingLibraryError(MmSupervisorError):
    """An optional library is needed for this input and is not installed.

    Attributes:
        need: What could not be done.
        extra: The extra of this package that brings the library.
    """

    def __init__(self, need: str, extra: str) -> None:
        """Record what could not be done and which extra mends it."""
        self.need = need
        self.extra = extra
        super().__init__(f"{need}: install the optional extra `{extra}`; `mmsup doctor` says how")
