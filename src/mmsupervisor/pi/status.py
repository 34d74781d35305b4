"""EFI_STATUS values and their names.

UEFI 2.10 appendix D; PI 1.8 vol. 4 for the MM statuses. An error has the top bit of 64 set; the two
vendor-range values of MM interrupt handling have their own top bits.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

ERROR_BIT = 1 << 63
"""Set in every error status of a 64-bit system."""

_OEM = 0xA000_0000_0000_0000
_WARN = 0x2000_0000_0000_0000


class Status(IntEnum):
    """EFI_STATUS. Members compare equal to the 64-bit number a guest sees."""

    SUCCESS = 0
    LOAD_ERROR = ERROR_BIT | 1
    INVALID_PARAMETER = ERROR_BIT | 2
    UNSUPPORTED = ERROR_BIT | 3
    BAD_BUFFER_SIZE = ERROR_BIT | 4
    BUFFER_TOO_SMALL = ERROR_BIT | 5
    NOT_READY = ERROR_BIT | 6
    DEVICE_ERROR = ERROR_BIT | 7
    WRITE_PROTECTED = ERROR_BIT | 8
    OUT_OF_RESOURCES = ERROR_BIT | 9
    VOLUME_CORRUPTED = ERROR_BIT | 10
    VOLUME_FULL = ERROR_BIT | 11
    NO_MEDIA = ERROR_BIT | 12
    MEDIA_CHANGED = ERROR_BIT | 13
    NOT_FOUND = ERROR_BIT | 14
    ACCESS_DENIED = ERROR_BIT | 15
    NO_RESPONSE = ERROR_BIT | 16
    NO_MAPPING = ERROR_BIT | 17
    TIMEOUT = ERROR_BIT | 18
    NOT_STARTED = ERROR_BIT | 19
    ALREADY_STARTED = ERROR_BIT | 20
    ABORTED = ERROR_BIT | 21
    ICMP_ERROR = ERROR_BIT | 22
    TFTP_ERROR = ERROR_BIT | 23
    PROTOCOL_ERROR = ERROR_BIT | 24
    INCOMPATIBLE_VERSION = ERROR_BIT | 25
    SECURITY_VIOLATION = ERROR_BIT | 26
    CRC_ERROR = ERROR_BIT | 27
    END_OF_MEDIA = ERROR_BIT | 28
    END_OF_FILE = ERROR_BIT | 31
    INVALID_LANGUAGE = ERROR_BIT | 32
    COMPROMISED_DATA = ERROR_BIT | 33
    IP_ADDRESS_CONFLICT = ERROR_BIT | 34
    HTTP_ERROR = ERROR_BIT | 35
    INTERRUPT_PENDING = _OEM
    NOT_AVAILABLE_YET = _OEM | 2
    WARN_INTERRUPT_SOURCE_PENDING = _WARN
    WARN_INTERRUPT_SOURCE_QUIESCED = _WARN | 1
    WARN_UNKNOWN_GLYPH = 1
    WARN_DELETE_FAILURE = 2
    WARN_WRITE_FAILURE = 3
    WARN_BUFFER_TOO_SMALL = 4
    WARN_STALE_DATA = 5

    @property
    def is_error(self) -> bool:
        """Whether the top bit is set."""
        return bool(self & ERROR_BIT)

    @property
    def efi_name(self) -> str:
        """The name with its prefix, for example EFI_NOT_FOUND."""
        return f"EFI_{self.name}"


@lru_cache(maxsize=256)
def status_name(value: int) -> str:
    """Name a 64-bit status; an unnamed one is given in hexadecimal."""
    try:
        return Status(value).efi_name
    except ValueError:
        return f"{value:#018x}"
