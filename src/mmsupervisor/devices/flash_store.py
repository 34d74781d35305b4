"""A flash's contents in a file: read once, written back only when asked, and then as a whole or not at all.

A file is replaced by way of a new one beside it: written, flushed to the disk, renamed over the old one, and the
folder flushed. Whatever fails and whenever the program is killed, the name stands for the old contents or the new.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.limits import MIB

LARGEST = 256 * MIB
"""Bytes of the largest flash: firmware lies in the last 16 MiB below 4 GiB on most computers."""


class FlashStoreError(MmSupervisorError):
    """A store's file does not fit, or is no longer the one that was read."""


class FlashStore:
    """A file that holds a flash's contents, or begins with them.

    Attributes:
        path: The file.
        content: What the flash held when it was read, or what was last written back.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        """Read the file.

        Args:
            path: The file.
            size: Bytes from its start that are the flash's; 0 for all. The others are kept as they are.

        Raises:
            InputError: it cannot be read.
            LimitError: it is larger than any flash.
        """
        self.path = path
        whole = read_input_file(path, LARGEST)
        self.content = whole[:size] if size else whole
        self._rest = whole[len(self.content) :]

    def write_back(self, content: bytes) -> bool:
        """Replace the flash's contents in the file and return whether there was anything to write.

        Args:
            content: The new contents, as long as the old.

        Raises:
            FlashStoreError: the length differs, or somebody else has changed the file since it was read.
            OSError: it cannot be written. Then the file has its old contents, unless the error came from flushing
                the folder, after which it has the new ones.
        """
        if len(content) != len(self.content):
            raise FlashStoreError(f"{self.path}: {len(content)} bytes do not replace {len(self.content)}")
        if content == self.content:
            return False
        if self.path.read_bytes() != self.content + self._rest:
            raise FlashStoreError(f"{self.path}: changed by somebody else since it was read; nothing was written")
        replace_file(self.path, content + self._rest)
        self.content = content
        return True


def replace_file(path: Path, content: bytes) -> None:
    """Replace an existing file's contents atomically; mode is kept, and a link's target is replaced, not the link.

    Raises:
        OSError: it cannot be done.
    """
    # Only a link has to be followed: the folders above may be closed to this user.
    target = path.resolve(strict=True) if path.is_symlink() else path
    mode = target.stat().st_mode
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    try:
        try:
            _write_all(descriptor, content)
            os.chmod(name, mode)  # noqa: PTH101  (the tests count and break the calls of os)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(name, target)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
    _flush_folder(target.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _flush_folder(folder: Path) -> None:
    """Make the new name last. Where a folder cannot be opened (Windows), renaming is all there is."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
