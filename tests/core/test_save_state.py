"""Reading the save state by two system calls, both vendors, every register (save-state.md §2 to §6)."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.save_state import SAVE_STATE_SIZE, Vendor, trap_area
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble, read_blob_as_runtime, write_blob
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import AccessAttr, PolicyRoot, RootType
from tests.core.small import MMRAM, bugs, fatal_call, set_save_state, system_call, user_page

NAME, READ = CallNumber.SMM_SC_SVST_READ, CallNumber.SMM_SC_SVST_READ_2
COOKIE = 0x7777
AMD, INTEL = Vendor.AMD, Vendor.INTEL
IO, LMA, PROCESSOR_ID = 512, 513, 514
OPEN = CompiledPolicy(assemble((PolicyRoot(RootType.IO, AccessAttr.DENY),)))
MISSING = 0xEE

# Register number -> (width, architectural offset of the low bytes, of the high bytes or None); save-state.md §2, §4.
AMD_TABLE: dict[int, tuple[int, int, int | None]] = {
    4: (8, 0xFE68, 0xFE6C),
    5: (8, 0xFE88, 0xFE88),  # the low half twice: surprise 3
    6: (8, 0xFE78, 0xFE78),
    7: (2, 0xFE64, None),
    8: (2, 0xFE84, None),
    9: (4, 0xFE74, None),
    20: (2, 0xFE00, None),
    21: (2, 0xFE10, None),
    22: (2, 0xFE20, None),
    23: (2, 0xFE30, None),
    24: (2, 0xFE40, None),
    25: (2, 0xFE50, None),
    26: (2, 0xFE70, None),
    27: (2, 0xFE90, None),
    **{
        number: (8, offset, offset + 4)
        for number, offset in {
            28: 0xFF60, 29: 0xFF68, 30: 0xFFB8, 31: 0xFFB0, 32: 0xFFA8, 33: 0xFFA0, 34: 0xFF98, 35: 0xFF90, 36: 0xFF88,
            37: 0xFF80, 38: 0xFFF8, 39: 0xFFE0, 40: 0xFFF0, 41: 0xFFE8, 42: 0xFFD8, 43: 0xFFD0, 44: 0xFFC8, 45: 0xFFC0,
            46: 0xFF78, 51: 0xFF70, 52: 0xFF58, 53: 0xFF50, 54: 0xFF48,
        }.items()
    },
}  # fmt: skip
INTEL_TABLE: dict[int, tuple[int, int, int | None]] = {
    4: (8, 0x7E8C, 0x7DD0),
    5: (8, 0x7E94, 0x7DD8),
    6: (8, 0x7E9C, 0x7DD4),
    **{20 + n: (4, 0x7FA8 + 4 * n, None) for n in range(8)},
    **{
        number: (8, offset, offset + 4)
        for number, offset in {
            28: 0x7FC8, 29: 0x7FD0, 30: 0x7F54, 31: 0x7F4C, 32: 0x7F44, 33: 0x7F3C, 34: 0x7F34, 35: 0x7F2C, 36: 0x7F24,
            37: 0x7F1C, 38: 0x7F5C, 39: 0x7F74, 40: 0x7F64, 41: 0x7F6C, 42: 0x7F7C, 43: 0x7F84, 44: 0x7F8C, 45: 0x7F94,
            46: 0x7FD8, 51: 0x7FE8, 52: 0x7FF8, 53: 0x7FF0,
        }.items()
    },
    54: (4, 0x7E40, None),
}  # fmt: skip
TABLES = {AMD: (AMD_TABLE, 0xFC00), INTEL: (INTEL_TABLE, 0x7C00)}
PATTERN = bytes((index * 7 + index // 256) & 0xFF for index in range(SAVE_STATE_SIZE))


@pytest.fixture
def buffer(supervisor: Supervisor) -> int:
    """A page of ring 3, filled; there is no save-state root, so the policy lets everything pass."""
    supervisor.policy = OPEN
    page = user_page(supervisor)
    supervisor.memory.fill(page, 0x1000, MISSING)
    return page


def read(supervisor: Supervisor, register: int, width: int, buffer: int, cpu: int = 0) -> tuple[int, bytes]:
    """Both calls: status, and what the buffer holds in its first 32 bytes."""
    assert system_call(supervisor, NAME, COOKIE, register, cpu) == 0
    supervisor.memory.fill(buffer, 32, MISSING)
    status = system_call(supervisor, READ, COOKIE, width, buffer)
    return status, supervisor.memory.read(buffer, 32)


@pytest.mark.parametrize("vendor", [AMD, INTEL])
@pytest.mark.parametrize("register", sorted(set(range(64)) | {256, 287, 511}))
def test_every_register_at_every_width(supervisor: Supervisor, buffer: int, vendor: Vendor, register: int) -> None:
    supervisor.vendor = vendor
    set_save_state(supervisor, 0, PATTERN)
    table, base = TABLES[vendor]
    if register not in table:
        assert read(supervisor, register, 1, buffer) == (Status.NOT_FOUND, bytes([MISSING]) * 32)
        return
    longest, low, high = table[register]
    whole = PATTERN[low - base : low - base + min(longest, 4)]
    if high is not None:
        whole += PATTERN[high - base : high - base + longest - 4]
    for width in range(1, 10):
        status, data = read(supervisor, register, width, buffer)
        if width > longest:
            assert (status, data) == (Status.INVALID_PARAMETER, bytes([MISSING]) * 32)
        else:
            assert status == 0
            assert data == whole[:width].ljust(32, bytes([MISSING]))


def test_cpus_have_their_own(supervisor: Supervisor, buffer: int) -> None:
    set_save_state(supervisor, 1, PATTERN)
    assert read(supervisor, 38, 8, buffer, cpu=1)[1][:8] == PATTERN[0x3F8:0x400]
    assert read(supervisor, 38, 8, buffer, cpu=0)[1][:8] == bytes(8)


# The first call


@pytest.mark.parametrize(
    "arguments", [(0, 38, 0), (COOKIE, 515, 0), (COOKIE, (1 << 64) - 1, 0), (COOKIE, 38, 2), (COOKIE, 38, 1 << 63)]
)
def test_naming_refused(supervisor: Supervisor, arguments: tuple[int, int, int]) -> None:
    assert fatal_call(supervisor, NAME, *arguments).status == Status.INVALID_PARAMETER
    assert system_call(supervisor, READ, COOKIE, 8, user_page(supervisor)) == Status.NOT_STARTED


@pytest.mark.parametrize("register", [0, 38, 514])
def test_naming_accepts_any_register_up_to_514(supervisor: Supervisor, register: int) -> None:
    assert system_call(supervisor, NAME, 1, register, 1) == 0


# The second call


def test_the_second_call_fatal(supervisor: Supervisor, buffer: int) -> None:
    system_call(supervisor, NAME, COOKIE, 38, 0)
    assert fatal_call(supervisor, READ, 0, 8, buffer).status == Status.INVALID_PARAMETER
    for width, place in ((0, buffer), (8, 0), (8, MMRAM), (0x2000, buffer), (8, 1 << 40)):
        assert fatal_call(supervisor, READ, COOKIE, width, place).status == Status.SECURITY_VIOLATION


def test_not_named_or_by_another(supervisor: Supervisor, buffer: int) -> None:
    assert system_call(supervisor, READ, COOKIE, 8, buffer) == Status.NOT_STARTED
    system_call(supervisor, NAME, COOKIE, 38, 0)
    assert system_call(supervisor, READ, COOKIE + 1, 8, buffer) == Status.NOT_STARTED
    assert system_call(supervisor, READ, COOKIE, 8, buffer) == 0


def test_the_holder_is_global_and_stays(supervisor: Supervisor, buffer: int) -> None:
    set_save_state(supervisor, 0, PATTERN)
    assert read(supervisor, 38, 8, buffer)[0] == 0
    assert system_call(supervisor, READ, COOKIE, 4, buffer + 64) == 0
    assert supervisor.memory.read(buffer + 64, 4) == PATTERN[0x3F8:0x3FC]
    assert "save-state.md surprise 2" in bugs(supervisor)


@pytest.mark.parametrize("width", [1, 4, 7, 9, 24])
def test_processor_id_needs_eight_bytes(supervisor: Supervisor, buffer: int, width: int) -> None:
    assert read(supervisor, PROCESSOR_ID, width, buffer)[0] == Status.INVALID_PARAMETER


def test_processor_id(supervisor: Supervisor, buffer: int) -> None:
    for cpu, apic in enumerate((0, 4)):
        assert read(supervisor, PROCESSOR_ID, 8, buffer, cpu)[1][:8] == struct.pack("<Q", apic)
    supervisor.cpus[1].present = False
    assert read(supervisor, PROCESSOR_ID, 8, buffer, 1)[0] == Status.NOT_FOUND


@pytest.mark.parametrize("register", [38, IO, LMA])
def test_an_absent_cpu(supervisor: Supervisor, buffer: int, register: int) -> None:
    supervisor.cpus[1].present = False
    assert read(supervisor, register, 24 if register == IO else 1, buffer, 1)[0] == Status.INVALID_PARAMETER


def test_lma(supervisor: Supervisor, buffer: int) -> None:
    assert read(supervisor, LMA, 1, buffer)[1][:2] == bytes([64, MISSING])
    assert read(supervisor, LMA, 2, buffer)[0] == Status.INVALID_PARAMETER


# I/O information (§5)


def set_amd(supervisor: Supervisor, word: int, rax: int = 0x1122_3344_5566_7788, revision: int = 0x30064) -> None:
    area = bytearray(SAVE_STATE_SIZE)
    struct.pack_into("<I", area, 0xFEC0 - 0xFC00, word)
    struct.pack_into("<I", area, 0xFEFC - 0xFC00, revision)
    struct.pack_into("<Q", area, 0xFFF8 - 0xFC00, rax)
    supervisor.vendor = AMD
    set_save_state(supervisor, 0, bytes(area))


def set_intel(supervisor: Supervisor, word: int, rax: int = 0x1122_3344_5566_7788, revision: int = 0x30004) -> None:
    area = bytearray(SAVE_STATE_SIZE)
    struct.pack_into("<I", area, 0x7FA4 - 0x7C00, word)
    struct.pack_into("<I", area, 0x7EFC - 0x7C00, revision)
    struct.pack_into("<Q", area, 0x7F5C - 0x7C00, rax)
    supervisor.vendor = INTEL
    set_save_state(supervisor, 0, bytes(area))


def info(data: int, port: int, width: int, kind: int) -> bytes:
    return struct.pack("<QHHIII", data, port, 0, width, kind, 0)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        (0x00B2_0012, info(0x88, 0xB2, 0, 2)),
        (0x00B2_0013, info(0x88, 0xB2, 0, 1)),
        (0x0CF8_0022, info(0x7788, 0xCF8, 1, 2)),
        (0x0CF8_0042, info(0x5566_7788, 0xCF8, 2, 2)),
        (0x0CF8_0002, info(0x5566_7788, 0xCF8, 2, 2)),  # neither bit 4 nor 5: 32 bits
        (0x0CF8_0032, info(0x88, 0xCF8, 0, 2)),  # bit 4 first
        (0x00B2_001E, info(0x88, 0xB2, 0, 2)),  # string and REP bits are not looked at
        (0x00B2_0010, None),
        (0, None),
    ],
)
def test_amd_io(supervisor: Supervisor, buffer: int, word: int, wanted: bytes | None) -> None:
    set_amd(supervisor, word)
    status, data = read(supervisor, IO, 24, buffer)
    assert status == (0 if wanted else Status.NOT_FOUND)
    assert data[:24] == (wanted or bytes([MISSING]) * 24)


def test_amd_io_needs_its_revision(supervisor: Supervisor, buffer: int) -> None:
    set_amd(supervisor, 0x00B2_0012, revision=0x30063)
    assert read(supervisor, IO, 24, buffer)[0] == Status.NOT_FOUND


@pytest.mark.parametrize("width", [1, 8, 23])
def test_amd_io_ignores_a_small_width_and_writes_no_more(supervisor: Supervisor, buffer: int, width: int) -> None:
    set_amd(supervisor, 0x00B2_0012)
    status, data = read(supervisor, IO, width, buffer)
    assert status == 0
    assert data == info(0x88, 0xB2, 0, 2)[:width].ljust(32, bytes([MISSING]))
    assert "save-state.md surprise 1" in bugs(supervisor)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        (0x00B2_0003, info(0x88, 0xB2, 0, 2)),
        (0x00B2_0013, info(0x88, 0xB2, 0, 1)),
        (0x00B2_0083, info(0x88, 0xB2, 0, 2)),
        (0x00B2_0093, info(0x88, 0xB2, 0, 1)),
        (0x0CF8_0005, info(0x7788, 0xCF8, 1, 2)),
        (0x0CF8_0009, info(0x5566_7788, 0xCF8, 2, 2)),
        *((0x00B2_0003 | kind << 4, None) for kind in (2, 3, 6, 7, 4, 5, 10, 15)),
        *((0x00B2_0001 | length << 1, None) for length in (0, 3, 5, 6, 7)),
        (0x00B2_0002, None),
    ],
)
def test_intel_io(supervisor: Supervisor, buffer: int, word: int, wanted: bytes | None) -> None:
    set_intel(supervisor, word)
    status, data = read(supervisor, IO, 24, buffer)
    assert status == (0 if wanted else Status.NOT_FOUND)
    assert data[:24] == (wanted or bytes([MISSING]) * 24)


def test_intel_io_small_width_comes_last(supervisor: Supervisor, buffer: int) -> None:
    set_intel(supervisor, 0x00B2_0003)
    assert read(supervisor, IO, 23, buffer)[0] == Status.INVALID_PARAMETER
    set_intel(supervisor, 0x00B2_0002)
    assert read(supervisor, IO, 23, buffer)[0] == Status.NOT_FOUND
    set_intel(supervisor, 0x00B2_0003, revision=0x30003)
    assert read(supervisor, IO, 24, buffer)[0] == Status.NOT_FOUND


# The policy (§7; isolation-policy.md §9)


@pytest.mark.parametrize("vendor", [AMD, INTEL])
@pytest.mark.parametrize(
    ("trap", "register", "width", "status"),
    [
        ((0xB2, 1, True), IO, 24, 0),
        ((0xB2, 1, False), IO, 24, Status.ACCESS_DENIED),
        (None, IO, 24, Status.NOT_FOUND),
        ((0xB2, 1, True), IO, 25, Status.ACCESS_DENIED),
        ((0xB2, 1, True), 38, 1, Status.ACCESS_DENIED),
        ((0xB2, 2, True), 38, 1, 0),
        ((0xB2, 2, True), 38, 2, Status.ACCESS_DENIED),
        ((0xB2, 4, True), 38, 2, 0),
        ((0xB2, 4, True), 38, 4, Status.ACCESS_DENIED),
        (None, 38, 1, Status.NOT_FOUND),
        ((0xB2, 1, True), LMA, 1, Status.ACCESS_DENIED),
        ((0xB2, 1, True), 46, 8, Status.ACCESS_DENIED),
        (None, PROCESSOR_ID, 8, 0),
    ],
)
def test_the_example_policy(
    supervisor: Supervisor,
    buffer: int,
    vendor: Vendor,
    trap: tuple[int, int, bool] | None,
    register: int,
    width: int,
    status: int,
) -> None:
    supervisor.policy = CompiledPolicy(default_policy())
    supervisor.vendor = vendor
    area = bytes(SAVE_STATE_SIZE)
    if trap:
        area = trap_area(vendor, trap[0], trap[1], output=trap[2], rax=0x1234)
    set_save_state(supervisor, 0, area)
    answer, data = read(supervisor, register, width, buffer)
    assert answer == status
    if status:
        assert data == bytes([MISSING]) * 32


def test_without_a_policy(supervisor: Supervisor, buffer: int) -> None:
    supervisor.policy = None
    assert read(supervisor, PROCESSOR_ID, 8, buffer)[0] == Status.INVALID_PARAMETER


def test_without_a_save_state_root_everything_is_readable(supervisor: Supervisor, buffer: int) -> None:
    assert read(supervisor, 46, 8, buffer)[0] == 0
    assert "isolation-policy.md §17.1" in bugs(supervisor)


def test_a_save_state_that_lies_nowhere_faults_in_ring_0(supervisor: Supervisor, buffer: int) -> None:
    supervisor.cpus[0].smbase = 0x4000_0000
    system_call(supervisor, NAME, COOKIE, 38, 0)
    assert fatal_call(supervisor, READ, COOKIE, 8, buffer).kind.number == "MM-1302"


def test_a_save_state_list_outside_the_policy_is_read_beyond_its_end(supervisor: Supervisor, buffer: int) -> None:
    blob = bytearray(write_blob(default_policy()))
    root = next(n for n, one in enumerate(default_policy().roots) if one.type == RootType.SAVE_STATE)
    struct.pack_into("<I", blob, 40 + 24 * root + 12, len(blob))
    supervisor.policy = CompiledPolicy(read_blob_as_runtime(bytes(blob)))
    set_save_state(supervisor, 0, trap_area(AMD, 0xB2, 1, output=True, rax=0))
    system_call(supervisor, NAME, COOKIE, 38, 0)
    assert fatal_call(supervisor, READ, COOKIE, 1, buffer).kind.number == "MM-1302"
