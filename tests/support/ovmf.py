"""Real firmware to test with: the images of Debian's packages ``ovmf`` and ``ovmf-ia32``.

They are downloaded and unpacked into a cache folder of the checkout; nothing is installed and no
root is needed. Firmware bytes are never committed. The module uses the standard library only, so
that it also runs as a plain command before anything is set up (``scripts/fetch-ovmf``).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

MAIN_PACKAGE = "ovmf"
PACKAGES = (MAIN_PACKAGE, "ovmf-ia32", "ovmf-generic", "ovmf-amdsev", "ovmf-inteltdx")
"""From 2025.11 on there is no ovmf-ia32, and ovmf holds nothing itself: it stands for the last three."""
FOLDER_VARIABLE = "MMSUP_OVMF"
DEFAULT_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "ovmf"
ADVICE = (
    "unpack Debian's packages ovmf and ovmf-ia32 into a folder (dpkg-deb -x PACKAGE.deb FOLDER) "
    f"and set {FOLDER_VARIABLE} to that folder"
)

_DEBIAN_12 = "2022.11-6+deb12u2 (Debian 12)"
_KNOWN = {
    "d50189a486d22af418198226a3a5bcb6ddac775590f6a808bd629474ee034d62": _DEBIAN_12,  # OVMF_CODE_4M.secboot.fd
    "d068b51430d3063b6063836a4c633c3e807c9629d3431910a9f4a2a9334da4b7": _DEBIAN_12,  # OVMF32_CODE_4M.secboot.fd
}
"""By the SHA-256 of an image: the release of the package for which the tests hold exact facts about it."""


class OvmfMissingError(Exception):
    """The test firmware is not here and could not be fetched; the text is one line with advice."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; {ADVICE}")


class Ovmf:
    """The firmware images below one folder, by file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests: dict[str, str] = {}

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        """Every image by name; where a link and a file share a name, the file."""
        found = sorted(self.folder.rglob("*.fd"), key=lambda path: (not path.is_symlink(), path.as_posix()))
        return {path.name: path for path in found if path.is_file()}

    def path(self, name: str) -> Path:
        """Return the image of that file name, for example ``OVMF_CODE_4M.secboot.fd``.

        Raises:
            OvmfMissingError: The folder has no such image.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise OvmfMissingError(f"{self.folder} has no firmware image {name}") from None

    def files(self) -> list[Path]:
        """Return all images, sorted by name; a link to another image is not counted again."""
        return [path for name, path in sorted(self._by_name.items()) if not path.is_symlink()]

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of an image in lower-case hex: the key for facts that hold for exact bytes."""
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(self.path(name).read_bytes()).hexdigest()
        return self._digests[name]

    def known_release(self, name: str) -> str | None:
        """Return the release whose exact facts hold for an image; None where only other readers can be asked."""
        return _KNOWN.get(self.sha256(name))


def locate(cache: Path = DEFAULT_CACHE) -> Ovmf:
    """Return the images of the folder that ``MMSUP_OVMF`` names, else of the cache, fetching them first if need be.

    Raises:
        OvmfMissingError: There are none and they cannot be fetched.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else fetch(cache)
    images = Ovmf(folder)
    if not images.files():
        raise OvmfMissingError(f"{folder} holds no firmware image (*.fd)")
    return images


def fetch(cache: Path = DEFAULT_CACHE) -> Path:
    """Download and unpack the packages into ``cache`` unless it exists, and return it.

    The folder appears under its name only when complete, and one process at a time fills it.

    Raises:
        OvmfMissingError: A tool is missing or the download failed.
    """
    if cache.is_dir():
        return cache
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OvmfMissingError(f"cannot fetch the test firmware: this system has no {tool}")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with _lock(cache.with_name(cache.name + ".lock")):
        if cache.is_dir():
            return cache
        with tempfile.TemporaryDirectory(prefix=cache.name + ".", dir=cache.parent) as scratch:
            unpacked = Path(scratch, "unpacked")
            for package in _download(Path(scratch)):
                _run(["dpkg-deb", "-x", str(package), str(unpacked)], cache.parent)
            unpacked.rename(cache)
    return cache


def _download(scratch: Path) -> list[Path]:
    """Download the packages, with package lists of our own if those of the system do not do."""
    try:
        _download_known(scratch, [])
    except OvmfMissingError:
        # The system's lists are missing or stale. Renewing them would need root: use private ones.
        (scratch / "lists" / "partial").mkdir(parents=True)
        private = ["-o", f"Dir::State::Lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch}"]
        _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", *private, "update"], scratch)
        _download_known(scratch, private)
    return sorted(scratch.glob("*.deb"))


def _download_known(scratch: Path, options: list[str]) -> None:
    """Download those of the packages that this release of the system has."""
    listed = _run(["apt-cache", *options, "search", "--names-only", f"^{MAIN_PACKAGE}"], scratch)
    there = {line.split(" ", 1)[0] for line in listed.splitlines()}
    if MAIN_PACKAGE not in there:
        raise OvmfMissingError(f"cannot fetch the test firmware: no package {MAIN_PACKAGE} in the package lists")
    known = [package for package in PACKAGES if package in there]
    _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", *options, "download", *known], scratch)


def _run(command: list[str], folder: Path) -> str:
    """Run a tool; return what it printed."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise OvmfMissingError(f"cannot fetch the test firmware: {command[0]} failed: {said}")
    return done.stdout


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel gives it up when a process dies, so none goes stale."""
    import fcntl  # not on Windows, where there is no apt-get either

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Fetch the images and print their folder: the command ``scripts/fetch-ovmf``."""
    parser = argparse.ArgumentParser(prog="fetch-ovmf", description="Fetch the firmware images that the tests read.")
    parser.add_argument("folder", nargs="?", type=Path, default=None, help="where to (default: the checkout's cache)")
    folder = parser.parse_args().folder
    try:
        print(Ovmf(fetch(folder.resolve())).folder if folder else locate().folder)
    except OvmfMissingError as error:
        print(f"fetch-ovmf: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
