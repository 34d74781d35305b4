"""Unicorn as an engine for ring 3: entering CPL 3, page permissions by TLB fills, and why a run stopped.

The engine knows nothing of system calls, devices or faults; :mod:`mmsupervisor.processor.unicorn_processor` makes
exits of its stops. Three decisions shape it:

* Ring 3 is entered once, by a real IRETQ from a set-up page that lies at an address which is not canonical, and every
  later entry restores the context saved then. Writing CS would leave the privilege level at 0.
* Pages are not mapped and unmapped: Unicorn asks for each page it does not know (a TLB fill) and the answer comes from
  the machine's page map. A change of protection costs a TLB flush and nothing else.
* Instructions that Unicorn executes otherwise than the machine (see
  :mod:`mmsupervisor.processor.trapped`) are found when their block is translated, before it first runs, and get a hook
  that stops in front of them. Everything that is executed was translated, so none is missed, self-modified code
  included. Operands that must be aligned are found in the same way, and looked at each time.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from unicorn import unicorn_const as uc
from unicorn import x86_const as x86

from mmsupervisor.machine.memory import PAGE_SIZE, Access, MmioDevice, ProtectionChange
from mmsupervisor.processor.block_counter_unsafe import BlockCounter
from mmsupervisor.processor.code_view import CodeView
from mmsupervisor.processor.engine_context import NOTHING_IN_FLIGHT, EngineError, find_layout
from mmsupervisor.processor.engine_stop import Stop
from mmsupervisor.processor.interface import Registers
from mmsupervisor.processor.ring3_setup import (
    CODE,
    CR0_SET,
    CR4,
    DESCRIPTOR_LIMIT,
    DESCRIPTORS,
    FRAME,
    PROBE,
    SETUP,
    USER_CODE,
    setup_page,
)
from mmsupervisor.processor.trapped import Traps
from mmsupervisor.processor.unicorn_pages import NEEDED, WINDOW, PageGrants
from mmsupervisor.processor.untranslatable import Untranslatable

# The binding is only partly annotated: to the type checker it is whatever it is.
unicorn: Any = import_module("unicorn")
binding: Any = import_module("unicorn.unicorn_py3.unicorn")

_GENERAL = [name.upper() for name in Registers.__slots__]
RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15, RIP, RFLAGS = range(len(_GENERAL))

# Looked up once: members of an enumeration are slow to reach, and every system call ends in one of these.
_SYSCALL, _BUDGET = Stop.SYSCALL, Stop.BUDGET


class Engine:
    """One Unicorn instance at CPL 3.

    Attributes:
        registers: The general registers, in the order of ``interface.Registers``; valid after :meth:`read_registers`.
        vector: Exception vector of the last :attr:`Stop.EXCEPTION`.
        denied_page: Page address of the last :attr:`Stop.DENIED`.
        denied_access: What was tried there.
        reason: Text of the last :attr:`Stop.BROKEN`; ``counter`` is what counts instructions, and edges if asked to.
    """

    def __init__(self, lookup: Callable[[int], int], code: CodeView) -> None:
        """Open Unicorn and bring it to ring 3.

        Args:
            lookup: Gives what ring 3 may do with the page at an address without an exit, as of
                :func:`mmsupervisor.processor.page_map.access_without_exit`.
            code: The code in memory.

        Raises:
            EngineError: this build of Unicorn lacks a behaviour the engine relies on.
        """
        self._pages = PageGrants(lookup)
        self._code = code
        self._untranslatable = Untranslatable(code)
        self._failure: BaseException | None = None
        self._stop: Stop | None = None
        self._setting_up = True
        self._traps = Traps()
        self._hooks: dict[int, int] = {}
        self._found: tuple[int, int, list[int]] | None = None
        self._callbacks: list[Any] = []
        self.vector = 0
        self.denied_page = 0
        self.denied_access = Access.NONE
        self.reason = ""

        self._uc = unicorn.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64, x86.UC_CPU_X86_WESTMERE)
        self._handle = self._uc._uch.value
        self._bind_functions()
        self.registers: Any = (ctypes.c_uint64 * len(_GENERAL))()
        self._all = self._batch(range(len(_GENERAL)))
        self.counter = BlockCounter(self._address_of("uc_emu_stop"))
        self._prepare()

    # Set-up

    def _bind_functions(self) -> None:
        library = binding.uclib
        # Short calls keep the interpreter lock (PyDLL); a run gives it up (CDLL).
        quick = ctypes.PyDLL(library._name)
        self._quick = quick
        self._start = library.uc_emu_start
        self._emu_stop = quick.uc_emu_stop
        self._emu_stop.argtypes = [ctypes.c_void_p]
        self._read_batch = quick.uc_reg_read_batch
        self._write_batch = quick.uc_reg_write_batch
        for function in (self._read_batch, self._write_batch):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
        self._context_save = quick.uc_context_save
        self._context_restore = quick.uc_context_restore
        for function in (self._context_save, self._context_restore):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._control = quick.uc_ctl
        self._flush_control = uc.UC_CTL_TLB_FLUSH | uc.UC_CTL_IO_WRITE << 30

    def _address_of(self, name: str) -> int:
        address = ctypes.cast(getattr(self._quick, name), ctypes.c_void_p).value
        if address is None:
            raise EngineError(f"Unicorn has no function {name}")
        return address

    def _batch(self, indexes: Any) -> tuple[Any, Any, int]:
        """Return what a batch call needs to move the given general registers from or to ``self.registers``."""
        indexes = list(indexes)
        numbers = (ctypes.c_int * len(indexes))(*(getattr(x86, f"UC_X86_REG_{_GENERAL[i]}") for i in indexes))
        base = ctypes.addressof(self.registers)
        pointers = (ctypes.c_void_p * len(indexes))(*(base + 8 * i for i in indexes))
        self._callbacks += [numbers, pointers]
        return ctypes.addressof(numbers), ctypes.addressof(pointers), len(indexes)

    def _prepare(self) -> None:
        """Go to ring 3 once and keep the context found there."""
        engine = self._uc
        engine.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        self._setup_page = ctypes.create_string_buffer(PAGE_SIZE * 2)
        aligned = (ctypes.addressof(self._setup_page) + PAGE_SIZE - 1) & -PAGE_SIZE
        engine.mem_map_ptr(SETUP, PAGE_SIZE, uc.UC_PROT_ALL, aligned)
        for address, data in setup_page().items():
            ctypes.memmove(aligned + address - SETUP, data, len(data))
        self._setup_base = aligned - SETUP
        self._add_hooks()
        engine.reg_write(x86.UC_X86_REG_GDTR, (0, DESCRIPTORS, DESCRIPTOR_LIMIT, 0))
        engine.reg_write(x86.UC_X86_REG_CR0, engine.reg_read(x86.UC_X86_REG_CR0) | CR0_SET)
        engine.reg_write(x86.UC_X86_REG_CR4, CR4)
        engine.reg_write(x86.UC_X86_REG_RSP, FRAME)
        engine.emu_start(CODE, PROBE)
        self._check(engine.reg_read(x86.UC_X86_REG_CS) == USER_CODE, "IRETQ did not reach ring 3")
        engine.ctl_exits_enabled(True)
        self.read_registers()
        for index in range(RFLAGS):
            self.registers[index] = 0
        self.registers[RFLAGS] = 2
        self.write_registers()
        self._clean = engine.context_save()
        self._clean_address = self._clean.context
        self._layout = find_layout(self._context_words(self._clean), self._probe)
        self._scratch = engine.context_save()
        self._scratch_words = ctypes.cast(self._scratch.context, ctypes.POINTER(ctypes.c_uint32))
        self._setting_up = False
        self.flush()

    def _check(self, held: bool, what: str) -> None:
        if not held:
            raise EngineError(f"Unicorn {unicorn.__version__}: {what}")

    def _probe(self, code: bytes, rax: int) -> list[int]:
        """Execute an instruction that faults and return the context afterwards as 32-bit words."""
        ctypes.memmove(self._setup_base + PROBE, code, len(code))
        self._uc.ctl_flush_tb()
        self.begin()
        self.registers[RAX] = rax
        self.write_registers()
        stop = self.run(PROBE)
        self._check(stop is Stop.EXCEPTION, f"{code.hex()} in ring 3 ends in {stop.name}, not in an exception")
        return self._context_words(self._uc.context_save())

    def _context_words(self, context: Any) -> list[int]:
        size = binding.uclib.uc_context_size(self._uc._uch) & -4
        return list(struct.unpack(f"<{size // 4}I", ctypes.string_at(context.context, size)))

    def _add_hooks(self) -> None:
        self._hook(uc.UC_HOOK_TLB_FILL, binding.HOOK_TLB_FILL_CFUNC, self._on_fill)
        self._hook(uc.UC_HOOK_INTR, binding.HOOK_INTR_CFUNC, self._on_exception)
        self._hook(uc.UC_HOOK_EDGE_GENERATED, binding.HOOK_EDGE_GEN_CFUNC, self._on_new_block)
        self._trap_callback = binding.HOOK_CODE_CFUNC(self._guard(self._on_trap))
        if self.counter.callback:
            # SYSCALL needs no look from here: Unicorn's own stop function serves as the callback.
            on_system_call = self._address_of("uc_emu_stop")
            self._add_hook(uc.UC_HOOK_BLOCK, self.counter.callback, self.counter.address, 1, 0)
        else:
            # Unicorn's own count stops a run without a word: here the system call has to speak up.
            function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(self._guard(self._on_system_call))
            self._callbacks.append(function)
            on_system_call = ctypes.cast(function, ctypes.c_void_p).value or 0
        self._add_hook(uc.UC_HOOK_INSN, on_system_call, 0, 1, 0, x86.UC_X86_INS_SYSCALL)

    def _hook(self, kind: int, prototype: Any, callback: Callable[..., Any]) -> None:
        function = prototype(self._guard(callback))
        self._callbacks.append(function)
        self._add_hook(kind, ctypes.cast(function, ctypes.c_void_p).value or 0, 0, 1, 0)

    def _add_hook(self, kind: int, callback: int, data: int, begin: int, end: int, *more: int) -> int:
        hook = binding.uc_hook_h()
        status = binding.uclib.uc_hook_add(
            self._uc._uch,
            ctypes.byref(hook),
            kind,
            callback,
            data,
            begin,
            end,
            *(ctypes.c_int(value) for value in more),
        )
        self._check(status == uc.UC_ERR_OK, f"hook {kind:#x} is refused with {status}")
        return int(hook.value)

    def _guard(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Keep what a callback raises until the run has ended, and end it."""

        def guarded(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except BaseException as failure:
                self._end_by(failure)
                return 0

        return guarded

    def _end_by(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._emu_stop(self._handle)

    # Callbacks

    def _on_fill(self, _uc: int, page: int, kind: int, entry: Any, _data: int) -> bool:
        granted, leads_to = (self._setup_access(), page) if page == SETUP else self._pages.ask(page)
        permission, needed = NEEDED[kind]
        if not granted & permission:
            self._stop = Stop.DENIED
            self.denied_page = page
            self.denied_access = needed
            return False
        if granted & uc.UC_PROT_EXEC and not self._setting_up:
            granted = self._grant_code(page, kind, granted)
        filled = entry[0]
        filled.paddr = leads_to
        filled.perms = granted
        return True

    def _grant_code(self, page: int, kind: int, granted: int) -> int:
        """Look at code before it is executed; code that ring 3 may change, each time that it may have done so."""
        known = self._untranslatable.knows(page) and not granted & uc.UC_PROT_WRITE
        if kind != uc.UC_MEM_FETCH:
            return granted if known else granted & ~uc.UC_PROT_EXEC
        if not known and self._untranslatable.look_at(page):
            self._set_exits()
            self.counter.forget_last_block()  # the run goes on: whatever ended in a system call ran before it
        return granted & ~uc.UC_PROT_WRITE

    def _set_exits(self, *more: int) -> None:
        """Have Unicorn stop where it must not translate anything, and where more is asked for."""
        self._uc.ctl_set_exits([*self._untranslatable.starts, *more])

    def _setup_access(self) -> int:
        """Let the processor itself read descriptors, and nobody else.

        The fill does not say whether ring 3 or the processor asks. An instruction that loads a segment may; what is
        filled for the processor's own reads is not seen by accesses of ring 3.
        """
        if self._setting_up:
            return int(uc.UC_PROT_ALL)
        self.read_registers()
        return int(uc.UC_PROT_READ) if self._code.loads_descriptor(self.registers[RIP]) else 0

    def _on_exception(self, _uc: int, vector: int, _data: int) -> None:
        self._stop = Stop.EXCEPTION
        self.vector = vector
        self._emu_stop(self._handle)

    def _on_trap(self, _uc: int, address: int, _size: int, _data: int) -> None:
        if self._traps.depends_on_registers(address):
            self.read_registers()
            if not self._traps.lies_askew(address, self.registers):
                return
        self._stop = Stop.TRAPPED
        self._emu_stop(self._handle)

    def _on_system_call(self, _uc: int, _data: int) -> None:
        self._stop = Stop.SYSCALL
        self._emu_stop(self._handle)

    def _on_new_block(self, _uc: int, block: Any, _previous: Any, _data: int) -> None:
        if self._setting_up:
            return
        start, size = block[0].pc, block[0].size
        addresses = self._traps.find(self._code.read_on(start, size), start, size)
        fresh = [address for address in addresses if address not in self._hooks]
        if fresh:
            self._found = (start, size, fresh)
            self._emu_stop(self._handle)

    # Running

    def run(self, rip: int) -> Stop:
        """Execute from an address until something stops it; registers are then those before the instruction at fault.

        After :attr:`Stop.SYSCALL` RIP is behind the instruction.

        Raises:
            BaseException: whatever a callback raised.
        """
        while True:
            self._stop = None
            if rip in self._untranslatable.starts:
                self.counter.forget_last_block()
            status = self._start(self._handle, rip, 0, 0, self.counter.run_limit)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if not status and self._stop is None and self._found is None and self._untranslatable.starts:
                self._stop = self._stop_at_exit()
            if not self.counter.callback:
                self.counter.charge_run(not status and self._stop is None and self._found is None)
            if self._found is None:
                break
            rip = self._arm_traps()
        if self._stop is not None:
            return self._stop
        if not status:
            # Nothing but SYSCALL and the budget ends a run without a word from a callback.
            return _BUDGET if self.counter.left[0] < 0 else _SYSCALL
        if status == uc.UC_ERR_INSN_INVALID:
            return Stop.INVALID
        self.reason = f"Unicorn: {unicorn.UcError(status)}"
        return Stop.BROKEN

    def _stop_at_exit(self) -> Stop | None:
        """Tell an exit from a system call in front of one, of which there is no word either."""
        self.read_registers()
        rip, block = self.registers[RIP], self.counter.last_block
        if rip not in self._untranslatable.starts or (block and self._code.ends_in_system_call(block, rip)):
            return None
        return Stop.INVALID

    def _arm_traps(self) -> int:
        """Hook the instructions found in the block that is about to run, have it translated again; return its RIP."""
        assert self._found is not None  # noqa: S101 - the caller looked
        start, size, addresses = self._found
        self._found = None
        callback = ctypes.cast(self._trap_callback, ctypes.c_void_p).value or 0
        for address in addresses:
            self._hooks[address] = self._add_hook(uc.UC_HOOK_CODE, callback, 0, address, address)
        self._uc.ctl_remove_cache(start, start + size)
        return start

    def disarm(self, address: int) -> None:
        """Take the trap at an address away: other code is there now."""
        binding.uclib.uc_hook_del(self._uc._uch, self._hooks.pop(address))
        self._traps.forget(address)
        self._uc.ctl_remove_cache(address, address + 1)

    # State

    def read_registers(self) -> None:
        """Bring the general registers into :attr:`registers`."""
        self._read_batch(self._handle, *self._all)

    def write_registers(self) -> None:
        """Take the general registers from :attr:`registers`."""
        self._write_batch(self._handle, *self._all)

    def writer(self, *indexes: int) -> Callable[[], None]:
        """Return a function that takes only some registers from :attr:`registers`."""
        batch = self._batch(indexes)
        write, handle = self._write_batch, self._handle

        def write_some() -> None:
            write(handle, *batch)

        return write_some

    def begin(self) -> None:
        """Become the context of a fresh entry: registers zero, x87 and SSE initial."""
        self._context_restore(self._handle, self._clean_address)

    def set_budget(self, instructions: int) -> None:
        """Bound what runs from now on; 0 is no bound."""
        self.counter.set(instructions)

    def save_budget(self) -> tuple[int, int]:
        """Return what is left of the budget, for :meth:`restore_budget`."""
        return self.counter.save()

    def restore_budget(self, saved: tuple[int, int]) -> None:
        """Go on with what was left."""
        self.counter.restore(saved)

    def save(self) -> Any:
        """Return the complete context."""
        if self._uc is None:
            self._refuse()
        return self._uc.context_save()

    def restore(self, context: Any) -> None:
        """Become a context that :meth:`save` returned."""
        self._context_restore(self._handle, context.context)

    def take_error_code(self) -> int:
        """Return the error code of the last exception and forget that it is in flight."""
        self._context_save(self._handle, self._scratch.context)
        error_code = int(self._scratch_words[self._layout.error_code])
        self._scratch_words[self._layout.in_flight] = NOTHING_IN_FLIGHT
        self._context_restore(self._handle, self._scratch.context)
        return error_code

    def read_vector(self, index: int) -> int:
        """Return the 128 bits of XMM register ``index``."""
        return int(self._uc.reg_read(x86.UC_X86_REG_XMM0 + index))

    def write_vector(self, index: int, value: int) -> None:
        """Set the 128 bits of XMM register ``index``."""
        self._uc.reg_write(x86.UC_X86_REG_XMM0 + index, value)

    # Memory

    def map(self, base: int, size: int, host_address: int) -> None:
        """Put host memory behind physical addresses."""
        self._uc.mem_map_ptr(base, size, uc.UC_PROT_ALL, host_address)

    def map_device(self, base: int, size: int, device: MmioDevice) -> None:
        """Let a device answer at physical addresses, for pages that lead to it."""

        def write(_uc: int, offset: int, width: int, value: int, _data: int) -> None:
            try:  # not through _guard: this is called a million times where a store is reclaimed
                device.mmio_write(offset, width, value)
            except BaseException as failure:
                self._end_by(failure)

        read = self._guard(lambda _uc, offset, width, _data: device.mmio_read(offset, width))
        functions = binding.MMIO_READ_CFUNC(read), binding.MMIO_WRITE_CFUNC(write)
        self._callbacks += functions
        status = binding.uclib.uc_mmio_map(self._uc._uch, base + WINDOW, size, functions[0], None, functions[1], None)
        self._check(status == uc.UC_ERR_OK, f"a device at {base:#x} is refused with {status}")

    def flush(self) -> None:
        """Forget all page permissions."""
        self._pages.clear()
        self._control(ctypes.c_void_p(self._handle), ctypes.c_int(self._flush_control))

    def take_over(self, changes: Sequence[ProtectionChange]) -> None:
        """Forget all page permissions, if changes took one away that Unicorn was told."""
        if self._pages.are_outdated_by(changes):
            self.flush()

    def forget_code(self, start: int, size: int) -> None:
        """Forget what was translated from a range that ring 3 may execute."""
        self._uc.ctl_remove_cache(start, start + size)
        if self._untranslatable.look_again(start, size):
            self._set_exits()

    @property
    def last_block(self) -> int | None:
        """Address of the block that ran last: a run of instructions up to a branch. None where that is not known."""
        return self.counter.last_block

    def run_up_to(self, rip: int, end: int) -> Stop:
        """Execute from ``rip``, but not the instruction at ``end``; :attr:`Stop.REACHED` if that was next."""
        self._set_exits(end)
        try:
            stop = self.run(rip)
        finally:
            self._set_exits()
        if stop in (Stop.SYSCALL, Stop.BUDGET):
            self.read_registers()
            if self.registers[RIP] == end:
                return Stop.REACHED
        return stop

    def close(self) -> None:
        """Close Unicorn; what is called afterwards raises EngineError (its library would crash)."""
        for name in ("_start", "_read_batch", "_write_batch", "_context_save", "_context_restore", "_control"):
            setattr(self, name, self._refuse)
        self._clean = self._scratch = None
        self._uc = None

    def _refuse(self, *_arguments: object) -> None:
        raise EngineError("the processor is closed")
