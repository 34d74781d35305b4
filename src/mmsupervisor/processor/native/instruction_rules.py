"""Which instructions the host's processor executes otherwise than the machine's, and what the machine makes of them."""

from __future__ import annotations

from functools import cache

from iced_x86 import Code, CpuidFeature, EncodingKind, Instruction, Mnemonic, OpKind

from mmsupervisor.processor import exceptions, special

_PRESENT = {
    *("INTEL8086", "INTEL186", "INTEL286", "INTEL386", "INTEL486", "X64", "FPU", "FPU287", "FPU387", "MMX", "SSE"),
    *("SSE2", "SSE3", "SSSE3", "SSE4_1", "SSE4_2", "POPCNT", "CX8", "CMPXCHG16B", "CMOV", "SYSCALL", "FXSR", "PAUSE"),
    *("CLFSH", "MULTIBYTENOP", "PREFETCHW", "CPUID", "TSC", "RDTSCP", "MSR", "RDPMC", "SEP", "SMM"),
    # What exists on every processor, with another privilege or another meaning where the feature is missing.
    *("INTEL8086_ONLY", "INTEL286_ONLY", "INTEL386_ONLY", "BMI1", "LZCNT", "CET_IBT", "CET_SS"),
    *("WBNOINVD", "CLDEMOTE"),
    # Not announced by CPUID, but executed by the emulated processor too.
    *("AES", "PCLMULQDQ"),
}


@cache
def _present_features() -> frozenset[int]:
    return frozenset(getattr(CpuidFeature, name) for name in _PRESENT)


_absent: dict[int, bool] = {}


def is_absent(instruction: Instruction) -> bool:
    """Return whether the machine's processor does not have the instruction, so that it raises #UD."""
    code = instruction.code
    answer = _absent.get(code)
    if answer is None:
        answer = _absent[code] = instruction.encoding != EncodingKind.LEGACY or not _present_features().issuperset(
            instruction.cpuid_features()
        )
    return answer


_SILENT = frozenset(
    {
        # The kernel emulates some of these, or the host's own tables answer.
        *(Mnemonic.SGDT, Mnemonic.SIDT, Mnemonic.SLDT, Mnemonic.STR, Mnemonic.SMSW),
        # Their result is the host's.
        *(Mnemonic.CPUID, Mnemonic.PUSHF, Mnemonic.PUSHFD, Mnemonic.PUSHFQ),
    }
)
"""Instructions that the host would execute without a word, with another result than the machine's."""

_INT_80 = 0x80


_replaced: dict[int, bool] = {}


def must_be_replaced(instruction: Instruction) -> bool:
    """Return whether the host must never come to execute the instruction."""
    code = instruction.code
    answer = _replaced.get(code)
    if answer is None:
        answer = _replaced[code] = (
            is_absent(instruction)
            or instruction.mnemonic in _SILENT
            or special.is_timestamp(instruction)
            or special.loads_descriptor(instruction)
            or reads_selector(instruction)
        )
    if answer:
        return True
    # An interrupt that the host's kernel takes for a system call, with half of RAX only.
    return bool(code == Code.INT_IMM8 and instruction.immediate8 == _INT_80)


def reads_selector(instruction: Instruction) -> bool:
    """Return whether the instruction stores a segment register."""
    if instruction.mnemonic == Mnemonic.PUSH:
        return instruction.op0_kind == OpKind.REGISTER and instruction.op0_register in _selectors()
    return bool(
        instruction.mnemonic == Mnemonic.MOV
        and instruction.op1_kind == OpKind.REGISTER
        and instruction.op1_register in _selectors()
    )


@cache
def _selectors() -> frozenset[int]:
    from iced_x86 import Register

    return frozenset((Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS))


BREAKPOINT, OVERFLOW = 3, 4


def software_interrupt_size(vector: int, before: bytes) -> int:
    """Return the size of the INT whose trap left RIP behind it, or 0 if it was none.

    Args:
        vector: What the host raised.
        before: The bytes in front of RIP.
    """
    if vector == BREAKPOINT and before.endswith(b"\xcc"):
        return 1
    if vector == exceptions.DEBUG and before.endswith(b"\xf1"):
        return 1
    if vector in (BREAKPOINT, OVERFLOW) and before.endswith(bytes((0xCD, vector))):
        return 2
    return 0
