"""What is wrong or remarkable in an image, as data: reading goes on, and the report says what was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.reader import Reader

_VOLUME = "PI 1.8 vol. 3 §3.2.1"
_FILE = "PI 1.8 vol. 3 §3.2.3"
_SECTION = "PI 1.8 vol. 3 §2.1.5"


class Severity(Enum):
    """Whether a finding breaks the format."""

    DAMAGE = "damage"
    NOTE = "note"


class ProblemKind(Enum):
    """Every kind of finding, declared once: (word for reports, severity, source of the rule)."""

    VOLUME_CUT = ("volume-cut", Severity.DAMAGE, _VOLUME)
    VOLUME_CHECKSUM = ("volume-checksum", Severity.DAMAGE, _VOLUME)
    VOLUME_HEADER = ("volume-header", Severity.DAMAGE, _VOLUME)
    BLOCK_MAP = ("block-map", Severity.DAMAGE, _VOLUME)
    EXTENDED_HEADER = ("extended-header", Severity.DAMAGE, "PI 1.8 vol. 3 §3.2.2")
    OUTSIDE_VOLUMES = ("outside-volumes", Severity.NOTE, _VOLUME)
    FILE_SYSTEM = ("file-system-not-read", Severity.NOTE, _VOLUME)
    VARIABLE_STORE = ("variable-store", Severity.DAMAGE, "")
    FILE_CUT = ("file-cut", Severity.DAMAGE, _FILE)
    FILE_SIZE = ("file-size", Severity.DAMAGE, _FILE)
    FILE_HEADER_CHECKSUM = ("file-header-checksum", Severity.DAMAGE, _FILE)
    FILE_DATA_CHECKSUM = ("file-data-checksum", Severity.DAMAGE, _FILE)
    FILE_STATE = ("file-state", Severity.DAMAGE, _FILE)
    FILE_ALIGNMENT = ("file-alignment", Severity.DAMAGE, _FILE)
    LARGE_FILE = ("large-file-in-ffs2", Severity.DAMAGE, _FILE)
    SKIPPED = ("skipped-bytes", Severity.DAMAGE, _FILE)
    PAD_CONTENT = ("pad-content", Severity.NOTE, "PI 1.8 vol. 3 §2.1.4.1.8")
    FREE_SPACE_CONTENT = ("free-space-content", Severity.NOTE, _VOLUME)
    SECTION_CUT = ("section-cut", Severity.DAMAGE, _SECTION)
    SECTION_SIZE = ("section-size", Severity.DAMAGE, _SECTION)
    SECTION_TAIL = ("section-tail", Severity.NOTE, _SECTION)
    CRC32 = ("crc32", Severity.DAMAGE, "PI 1.8 vol. 3 §2.1.5.3")
    EXPANDED_SIZE = ("expanded-size", Severity.DAMAGE, "PI 1.8 vol. 3 §2.1.5.2")
    ENCAPSULATION = ("encapsulation", Severity.DAMAGE, _SECTION)
    LIMIT = ("limit", Severity.DAMAGE, "")
    NO_VOLUME = ("no-volume", Severity.DAMAGE, "PI 1.8 vol. 3 §2.1.5.6")
    FLASH_DESCRIPTOR = ("flash-descriptor", Severity.DAMAGE, "Intel flash descriptor")
    FLASH_REGION = ("flash-region", Severity.DAMAGE, "Intel flash descriptor")
    CAPSULE = ("capsule", Severity.DAMAGE, "UEFI 2.10 §8.5.3")
    FMP_CAPSULE = ("fmp-capsule", Severity.DAMAGE, "UEFI 2.10 §23.3")

    def __init__(self, word: str, severity: Severity, source: str) -> None:
        """Unpack the declaration."""
        self.word = word
        self.severity = severity
        self.source = source


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: What kind of finding.
        part: What was being read: a path, with the decompressed parts gone through.
        offset: Byte offset within that part.
        rule: The rule that was broken, or what is remarkable, as one clause.
    """

    kind: ProblemKind
    part: str
    offset: int
    rule: str

    @property
    def is_damage(self) -> bool:
        """Whether the format is broken, as opposed to something worth noting."""
        return self.kind.severity is Severity.DAMAGE

    def error(self) -> FormatError:
        """The same as an exception, for callers that want one."""
        return FormatError(self.part, self.offset, self.rule, self.kind.source)

    def __str__(self) -> str:
        """One line: place, rule and source."""
        return str(self.error())


def problem_at(kind: ProblemKind, reader: Reader, offset: int, rule: str) -> Problem:
    """Build a finding at an offset of a reader's window."""
    return Problem(kind, reader.file, reader.base + offset, rule)
