"""The flash model: every command, the mode of its pages, and ring 3 using it as a driver does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from mmsupervisor.devices.flash import (
    ERASE_ERROR,
    PROGRAM_ERROR,
    READY,
    SECTOR,
    SEQUENCE_ERROR,
    CfiFlash,
)
from mmsupervisor.machine.memory import Access, Attribute, BusError, PhysicalMemory
from mmsupervisor.processor.cpuid import amd_cpuid
from mmsupervisor.processor.interface import BudgetSpent, Entry, MmioAccess, ProcessorOptions, SystemCall
from mmsupervisor.processor.unicorn_processor import UnicornProcessor

BASE = 0xFFC0_0000
SIZE = 4 * SECTOR
CONTENT = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def memory() -> Iterator[PhysicalMemory]:
    memory = PhysicalMemory(36)
    yield memory
    memory.close()


@pytest.fixture
def flash(memory: PhysicalMemory) -> CfiFlash:
    made = CfiFlash(memory, BASE, CONTENT, "flash", writable=True)
    memory.assign(BASE, SIZE, Attribute.XP)
    return made


@pytest.fixture
def write_protected(memory: PhysicalMemory) -> CfiFlash:
    return CfiFlash(memory, BASE, CONTENT, "code", writable=False)


def store(flash: CfiFlash, *stores: tuple[int, int]) -> None:
    """Byte stores, each offset and value."""
    for offset, value in stores:
        flash.mmio_write(offset, 1, value)


def in_array_mode(flash: CfiFlash, memory: PhysicalMemory) -> bool:
    """Whether the pages say so; they must agree with the device."""
    direct = memory.state(BASE).direct
    shown = memory.state(BASE).bank is flash.bank
    assert bool(direct & Access.READ) == shown
    assert not direct & Access.WRITE
    return shown


def test_array_mode_is_memory(flash: CfiFlash, memory: PhysicalMemory) -> None:
    assert in_array_mode(flash, memory)
    assert memory.read(BASE + 0x10, 4) == bytes.fromhex("10111213")
    assert flash.mmio_read(0x10, 4) == 0x13121110
    assert flash.content == CONTENT


def test_the_probe_that_firmware_uses_finds_flash(flash: CfiFlash, memory: PhysicalMemory) -> None:
    """Clear status, read array; then ask for the status: neither RAM (command reads back) nor ROM (nothing changes)."""
    offset = 0x21
    store(flash, (offset, 0x50))
    assert in_array_mode(flash, memory)
    assert flash.mmio_read(offset, 1) == 0x21
    store(flash, (offset, 0x70))
    assert not in_array_mode(flash, memory)
    assert flash.mmio_read(offset, 1) == 0
    store(flash, (offset, 0xFF))
    assert in_array_mode(flash, memory)


@pytest.mark.parametrize("command", [0x10, 0x40])
def test_programming_bytes(flash: CfiFlash, memory: PhysicalMemory, command: int) -> None:
    store(flash, (0x1000, command), (0x1000, 0x00), (0x1001, command), (0x1001, 0x01))
    assert not in_array_mode(flash, memory), "until a driver asks for the array, it reads the status"
    assert flash.mmio_read(0, 1) == READY
    assert flash.mmio_read(0, 4) == READY * 0x01010101
    with pytest.raises(BusError):
        memory.read(BASE, 1)
    store(flash, (0, 0xFF))
    assert memory.read(BASE + 0x1000, 3) == bytes((0x00, 0x01, 0x02))
    assert flash.unerased == 0


def test_programming_without_an_erase_is_counted(flash: CfiFlash) -> None:
    store(flash, (1, 0x10), (1, 0xF0), (2, 0x10), (2, 0x02))
    assert flash.content[1:3] == bytes((0xF0, 0x02))
    assert flash.unerased == 1


def test_wide_data_is_programmed_as_a_whole(flash: CfiFlash) -> None:
    store(flash, (8, 0x10))
    flash.mmio_write(8, 4, 0xAABBCCDD)
    assert flash.content[8:13] == bytes.fromhex("ddccbbaa0c")


def test_erase_needs_its_confirmation(flash: CfiFlash) -> None:
    store(flash, (0x1234, 0x20), (0x1234, 0xD0))
    assert flash.content == CONTENT[:0x1000] + b"\xff" * 0x1000 + CONTENT[0x2000:]
    assert flash.mmio_read(0, 1) == READY
    before = flash.content
    store(flash, (0, 0x20), (0, 0xFF))
    assert flash.mmio_read(0, 1) == CONTENT[0], "given up, array mode"
    store(flash, (0, 0x20), (0, 0x33))
    assert flash.mmio_read(0, 1) == READY | SEQUENCE_ERROR
    assert flash.content == before


def test_buffered_program(flash: CfiFlash) -> None:
    store(flash, (0x2000, 0xE8), (0x2000, 2), (0x2000, 1), (0x2001, 2), (0x2002, 3))
    assert flash.content == CONTENT, "not before it is confirmed"
    store(flash, (0x2000, 0xD0))
    assert flash.content[0x2000:0x2004] == bytes((1, 2, 3, 3))
    assert flash.mmio_read(0, 1) == READY
    before = flash.content
    store(flash, (0, 0xE8), (0, 0), (0, 9), (0, 0xFF))
    assert flash.content == before
    assert flash.status == READY | SEQUENCE_ERROR
    assert flash.mmio_read(0, 1) == CONTENT[0]


def test_identity_and_query(flash: CfiFlash, memory: PhysicalMemory) -> None:
    store(flash, (0, 0x90))
    assert flash.mmio_read(0, 2) == 0x1889
    store(flash, (0, 0x98))
    assert not in_array_mode(flash, memory)
    table = bytes(flash.mmio_read(offset, 1) for offset in range(0x40))
    assert table[0x10:0x17] == b"QRY\x01\x00\x31\x00"
    assert 1 << table[0x27] == SIZE
    assert 1 << table[0x2A] == 256
    assert int.from_bytes(table[0x2D:0x2F], "little") + 1 == SIZE // SECTOR
    assert int.from_bytes(table[0x2F:0x31], "little") << 8 == SECTOR
    assert table[0x31:0x36] == b"PRI10"


def test_locks_have_no_effect_and_unknown_commands_read_the_array(flash: CfiFlash, memory: PhysicalMemory) -> None:
    store(flash, (0, 0x60), (0, 0x01))
    assert flash.mmio_read(0, 1) == READY
    store(flash, (0, 0x60), (0, 0xD0))
    assert flash.content == CONTENT
    store(flash, (0, 0x77))
    assert in_array_mode(flash, memory)
    store(flash, (0, 0x60), (0, 0x77))
    assert flash.status == READY | SEQUENCE_ERROR


def test_a_write_protected_flash_says_so_and_stays(write_protected: CfiFlash) -> None:
    store(write_protected, (0, 0x10), (0, 0))
    assert write_protected.mmio_read(0, 1) == READY | PROGRAM_ERROR
    store(write_protected, (0, 0x50), (0, 0x20), (0, 0xD0))
    assert write_protected.mmio_read(0, 1) == READY | ERASE_ERROR
    assert write_protected.content == CONTENT


def test_state_brings_mode_and_pages_back(flash: CfiFlash, memory: PhysicalMemory) -> None:
    store(flash, (0x2000, 0xE8), (0x2000, 1), (0x2000, 0x11))
    middle = flash.state()
    store(flash, (0x2001, 0x22), (0x2000, 0xFF))
    assert in_array_mode(flash, memory)
    flash.restore(middle)
    assert not in_array_mode(flash, memory)
    store(flash, (0x2001, 0x22), (0x2000, 0xD0))
    assert flash.content[0x2000:0x2002] == b"\x11\x22"


def test_ring_3_writes_a_byte_and_waits_for_it(memory: PhysicalMemory, flash: CfiFlash) -> None:
    """Reads are direct, then the device's: within one entry, with nothing between but commands."""
    code, stack, leave = 0x10_0000, 0x11_0000, bytes.fromhex("0f05")
    program = bytes.fromhex(
        "8a19"  # mov bl, [rcx]        array, direct
        "c60140"  # mov byte [rcx], 40h
        "c6015a"  # mov byte [rcx], 5Ah
        "8a11"  # wait: mov dl, [rcx]  status
        "84d2"  # test dl, dl
        "79fa"  # jns wait
        "c601ff"  # mov byte [rcx], FFh
        "440fb601"  # movzx r8d, byte [rcx]  array
    )
    memory.add_ram(code, 0x2_0000, "ram")
    memory.assign(code, 0x1000, Attribute.RO)
    memory.assign(stack, 0x1000, Attribute.XP)
    memory.write(code, program + leave)
    with closing(UnicornProcessor(memory, ProcessorOptions(amd_cpuid(36)))) as processor:
        exits, seen = run(processor, flash, Entry(code, stack + 0xFF8, (BASE + 0x1000,)))
        assert seen == [0x40, 0x5A, "read", 0xFF, "read"], "the flash gives the array too, until the next stop"
        assert exits == 1, "the first command; then the flash answers without one"
        assert processor.registers().r8 == 0x5A
        assert processor.registers().rbx & 0xFF == CONTENT[0x1000]
    assert in_array_mode(flash, memory)


def run(processor: UnicornProcessor, flash: CfiFlash, entry: Entry) -> tuple[int, list[int | str]]:
    """Run to a system call; return the number of exits on the way, and all that the flash was asked."""
    seen: list[int | str] = []
    read, write = flash.mmio_read, flash.mmio_write

    def note_read(offset: int, width: int) -> int:
        seen.append("read")
        return read(offset, width)

    def note_write(offset: int, width: int, value: int) -> None:
        seen.append(value)
        write(offset, width, value)

    flash.mmio_read, flash.mmio_write = note_read, note_write  # type: ignore[method-assign]
    exits = 0
    exit_ = processor.enter(entry)
    while isinstance(exit_, MmioAccess):
        exits += 1
        offset, value = exit_.address - BASE, 0
        if exit_.write:
            flash.mmio_write(offset, exit_.width, exit_.value)
        else:
            value = flash.mmio_read(offset, exit_.width)
        exit_ = processor.resume(value)
    assert isinstance(exit_, SystemCall)
    flash.mmio_read, flash.mmio_write = read, write  # type: ignore[method-assign]
    return exits, seen


@pytest.mark.parametrize(
    ("store_rdx", "width"), [("8811", 1), ("668911", 2), ("8911", 4), ("488911", 8), ("660f1301", 8)]
)
@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 6])
def test_wide_and_unaligned_stores_mean_the_same_within_the_processor(
    memory: PhysicalMemory, store_rdx: str, width: int, offset: int
) -> None:
    """The flash is driven twice: by ring 3 in the middle of a program, and by the exits that other processors give."""
    ours, twin = (CfiFlash(memory, base, CONTENT, f"{base:#x}", writable=True) for base in (BASE, BASE + 0x10_0000))
    code, value, at = 0x10_0000, 0x1120_4440_1040_A5FF, 0x1000 + offset
    memory.add_ram(code, 0x2_0000, "ram")
    memory.assign(code, 0x1000, Attribute.RO)
    memory.assign(code + 0x1_0000, 0x1000, Attribute.XP)
    memory.assign(BASE, SIZE, Attribute.XP)
    load = "66480f6ec2" if width == 8 and store_rdx.startswith("66") else ""  # movq xmm0, rdx
    memory.write(code, bytes.fromhex(f"c60140 c6015a {load} {store_rdx} 0f05"))  # program a byte, then the store
    with closing(UnicornProcessor(memory, ProcessorOptions(amd_cpuid(36)))) as processor:
        exits, _ = run(processor, ours, Entry(code, code + 0x1_0FF8, (BASE + at, value)))
    assert exits == 1
    store(twin, (at, 0x40), (at, 0x5A))
    twin.mmio_write(at, width, value & (1 << 8 * width) - 1)
    assert ours.content == twin.content
    assert ours.state() == twin.state()


@pytest.mark.parametrize("instruction", ["8a01", "8801"])  # mov al, [rcx]; mov [rcx], al
def test_a_device_that_fails_within_the_processor_ends_the_run(
    memory: PhysicalMemory, flash: CfiFlash, instruction: str
) -> None:
    code = 0x10_0000
    memory.add_ram(code, 0x2_0000, "ram")
    memory.assign(code, 0x1000, Attribute.RO)
    memory.write(code, bytes.fromhex(instruction + "0f05"))
    store(flash, (0, 0x70))

    def fail(offset: int, width: int, value: int = 0) -> int:
        raise RuntimeError("a fault of the model")

    flash.mmio_read = flash.mmio_write = fail  # type: ignore[method-assign, assignment]
    with (
        closing(UnicornProcessor(memory, ProcessorOptions(amd_cpuid(36)))) as processor,
        pytest.raises(RuntimeError, match="a fault of the model"),
    ):
        processor.enter(Entry(code, code + 0x1_0FF8, (BASE,)))


def test_a_loop_over_the_status_spends_the_budget(memory: PhysicalMemory, flash: CfiFlash) -> None:
    """What the flash answers within the processor is charged as any instruction is."""
    code = 0x10_0000
    memory.add_ram(code, 0x2_0000, "ram")
    memory.assign(code, 0x1000, Attribute.RO)
    memory.write(code, bytes.fromhex("8a01 ebfc"))  # again: mov al, [rcx]; jmp again
    store(flash, (0, 0x70))
    with closing(UnicornProcessor(memory, ProcessorOptions(amd_cpuid(36), budget=10_000))) as processor:
        assert isinstance(processor.enter(Entry(code, code + 0x1_0FF8, (BASE,))), BudgetSpent)


def test_code_in_flash_runs_as_soon_as_the_array_is_back(memory: PhysicalMemory, flash: CfiFlash) -> None:
    code = 0x10_0000
    memory.add_ram(code, 0x2_0000, "ram")
    memory.assign(code, 0x1000, Attribute.RO)
    memory.assign(BASE, SIZE, Attribute.NONE)
    memory.write(BASE, bytes.fromhex("0f05"))  # syscall
    memory.write(code, bytes.fromhex("8a01 c601ff ffe1"))  # mov al, [rcx]: status; mov byte [rcx], FFh; jmp rcx
    store(flash, (0, 0x70))
    with closing(UnicornProcessor(memory, ProcessorOptions(amd_cpuid(36)))) as processor:
        ended = processor.enter(Entry(code, code + 0x1_0FF8, (BASE,)))
    assert isinstance(ended, SystemCall)
    assert (ended.rip, ended.number) == (BASE + 2, READY)
