"""Device paths as text, as far as boot entries need it (UEFI 2.10 §10.3 and §10.6).

A path is a row of nodes, each with type, subtype and length (u8, u8, u16); a node of type 0x7F ends it. Nodes that
are not known here are written as ``Path(type,subtype,data)``, as the specification has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.reader import Reader

_HEAD = 4
_END, _END_ENTIRE = 0x7F, 0xFF
_SOURCE = "UEFI 2.10 §10.3.1"

_PNP_VENDOR = 0x41D0
_ACPI_NAMES = {0x0A03: "PciRoot", 0x0A08: "PcieRoot"}


def path_text(path: Reader) -> str:
    """Return a path's text; several instances are separated by a comma.

    Raises:
        FormatError: a node does not fit, or the end is missing.
    """
    instances: list[list[str]] = [[]]
    for kind, subtype, body in _nodes(path):
        if kind == _END:
            instances.append([])
        else:
            instances[-1].append(_node_text(kind, subtype, body))
    return ",".join("/".join(nodes) for nodes in instances)


def _nodes(path: Reader) -> Iterator[tuple[int, int, Reader]]:
    offset = 0
    while True:
        kind, subtype = path.u8(offset, "device path"), path.u8(offset + 1, "device path")
        length = path.u16(offset + 2, "length of a device path node")
        if length < _HEAD:
            raise path.error(offset, f"a device path node of {length} bytes is shorter than its head", _SOURCE)
        if (kind, subtype) == (_END, _END_ENTIRE):
            return
        yield kind, subtype, path.window(offset + _HEAD, length - _HEAD, "device path node")
        offset += length


def _node_text(kind: int, subtype: int, body: Reader) -> str:
    write = _WRITERS.get((kind, subtype))
    if write is not None:
        try:
            return write(body)
        except FormatError:  # shorter than its type says: then it is shown as what it is, bytes
            pass
    return f"Path({kind},{subtype},{bytes(body.data).hex()})"


def _pci(body: Reader) -> str:
    return f"Pci({body.u8(1, 'device'):#x},{body.u8(0, 'function'):#x})"


def _vendor(name: str) -> Callable[[Reader], str]:
    def write(body: Reader) -> str:
        data = bytes(body.data[0x10:])
        return f"{name}({body.guid(0, 'vendor')}{',' + data.hex() if data else ''})"

    return write


def _acpi(body: Reader) -> str:
    number, unit = body.u32(0, "_HID"), body.u32(4, "_UID")
    product = number >> 16
    if number & 0xFFFF != _PNP_VENDOR:
        return f"Acpi({number:#010x},{unit:#x})"
    name = _ACPI_NAMES.get(product)
    return f"{name}({unit:#x})" if name else f"Acpi(PNP{product:04X},{unit:#x})"


def _numbers(name: str, *widths: int) -> Callable[[Reader], str]:
    """A node whose fields are numbers, one after the other."""

    def write(body: Reader) -> str:
        offset, words = 0, []
        for width in widths:
            words.append(f"{int.from_bytes(body.view(offset, width, name), 'little'):#x}")
            offset += width
        return f"{name}({','.join(words)})"

    return write


def _mac(body: Reader) -> str:
    return f"MAC({bytes(body.view(0, 6, 'MAC address')).hex()},{body.u8(32, 'interface type'):#x})"


def _hard_drive(body: Reader) -> str:
    signature_kind = body.u8(37, "kind of signature")
    start, size = body.u64(4, "start"), body.u64(12, "size")
    if signature_kind == 2:
        return f"HD({body.u32(0, 'partition')},GPT,{body.guid(20, 'signature')},{start:#x},{size:#x})"
    return f"HD({body.u32(0, 'partition')},MBR,{body.u32(20, 'signature'):#010x},{start:#x},{size:#x})"


def _file(body: Reader) -> str:
    return bytes(body.data).decode("utf-16-le", "replace").split("\0")[0]


def _guid(name: str) -> Callable[[Reader], str]:
    return lambda body: f"{name}({body.guid(0, name)})"


_WRITERS: dict[tuple[int, int], Callable[[Reader], str]] = {
    (1, 1): _pci,
    (1, 3): _numbers("MemoryMapped", 4, 8, 8),
    (1, 4): _vendor("VenHw"),
    (2, 1): _acpi,
    (2, 3): _numbers("AcpiAdr", 4),
    (3, 1): _numbers("Ata", 1, 1, 2),
    (3, 2): _numbers("Scsi", 2, 2),
    (3, 5): _numbers("USB", 1, 1),
    (3, 10): _vendor("VenMsg"),
    (3, 11): _mac,
    (3, 12): lambda body: "IPv4(" + ".".join(str(byte) for byte in body.view(4, 4, "remote address")) + ")",
    (3, 13): lambda body: f"IPv6({bytes(body.view(16, 16, 'remote address')).hex()})",
    (3, 14): _numbers("Uart", 4, 8, 1, 1, 1),
    (3, 18): _numbers("Sata", 2, 2, 2),
    (3, 23): _numbers("NVMe", 4, 8),
    (3, 24): lambda body: f"Uri({bytes(body.data).decode('ascii', 'replace')})",
    (4, 1): _hard_drive,
    (4, 3): _vendor("VenMedia"),
    (4, 4): _file,
    (4, 6): _guid("FvFile"),
    (4, 7): _guid("Fv"),
}
"""How nodes are written, by type and subtype."""
