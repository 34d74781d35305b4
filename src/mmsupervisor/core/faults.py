"""From an exception in ring 3 to the finding that explains it (docs/reference/syscall-abi.md §9, §10)."""

from __future__ import annotations

from mmsupervisor.core.findings import Finding, Place, make_finding
from mmsupervisor.core.page_faults import explain_page_fault
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.processor.instructions import decode
from mmsupervisor.processor.interface import Fault

VECTOR_NAMES = {
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP",
    12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM", 20: "#VE", 21: "#CP",
}  # fmt: skip
"""Names of the exception vectors (Intel SDM vol. 3 table 6-1)."""

_UNDEFINED, _STACK, _PROTECTION, _PAGE = 6, 12, 13, 14

_PORTS = frozenset(["in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"])
_RETURNS = frozenset(["ret", "retf", "retfq", "iret", "iretd", "iretq"])
_FAR = frozenset(("call", "jmp"))
_PRIVILEGED_WORDS = (
    "cli sti hlt invd wbinvd wbnoinvd rdmsr wrmsr lgdt lidt lldt ltr lmsw clts invlpg invpcid swapgs sysret sysretq "
    "sysexit sysexitq sysenter rsm rdpmc xsetbv sgdt sidt sldt smsw str monitor mwait vmcall vmmcall vmlaunch vmresume "
    "vmxoff vmxon vmrun vmload vmsave stgi clgi skinit invlpga getsec"
)
_PRIVILEGED = frozenset(_PRIVILEGED_WORDS.split())

_ADDRESS = "an address is not canonical, or an operand not aligned"


def explain_fault(
    supervisor: Supervisor, fault: Fault, *, returned_from: Place | None = None, caller: Place | None = None
) -> Finding:
    """Explain an exception.

    Args:
        supervisor: The supervisor.
        fault: The exception.
        returned_from: Where ring 3 was entered, if the stack pointer shows that the routine there popped the garbage
            slot above it: it returned by RET.
        caller: What follows the call that led outside all images, if there was one.
    """
    if returned_from is not None:
        return _explain_return(supervisor, fault, returned_from)
    if fault.vector == _PAGE and fault.address is not None:
        return explain_page_fault(supervisor, fault, fault.address, caller)
    return _explain_instruction(supervisor, fault)


def _finding(supervisor: Supervisor, fault: Fault, number: str, detail: str, rule: str) -> Finding:
    return make_finding(
        number,
        detail,
        place=supervisor.place,
        rule=rule,
        vector=fault.vector,
        error_code=fault.error_code,
        address=fault.address,
    )


def _explain_return(supervisor: Supervisor, fault: Fault, entered: Place) -> Finding:
    driver = supervisor.log.driver
    return make_finding(
        "MM-1105",
        f"entered at {entered}, it returned by RET to {fault.rip:#x}: the slot holds no return address",
        place=Place(driver, fault.rip),
        rule="syscall-abi.md §3.3: the only way back is the call gate",
        vector=fault.vector,
        error_code=fault.error_code,
        address=fault.address,
    )


def _explain_instruction(supervisor: Supervisor, fault: Fault) -> Finding:
    name = VECTOR_NAMES.get(fault.vector, f"vector {fault.vector}")
    source = "syscall-abi.md §9"
    if not fault.instruction:
        return _finding(
            supervisor, fault, "MM-1208", f"execute at {fault.rip:#x} raised {name}", f"{source}: {_ADDRESS}"
        )
    instruction = decode(fault.instruction, fault.rip)
    text = str(instruction) if instruction is not None else fault.instruction.hex(" ")
    word = text.split()[-1] if text.startswith(("rep", "lock")) and len(text.split()) == 1 else _mnemonic(text)
    detail = f"`{text}` raised {name}"
    if fault.vector == _UNDEFINED:
        return _finding(supervisor, fault, "MM-1103", detail, source)
    if fault.vector not in (_PROTECTION, _STACK):
        return _finding(supervisor, fault, "MM-1106", detail, source)
    if word in _PORTS:
        return _finding(supervisor, fault, "MM-1101", detail, f"{source}: CPL 3 is above IOPL 0")
    if word == "int":
        return _finding(supervisor, fault, "MM-1104", detail, f"{source}: interrupt gates have DPL 0")
    if word in _PRIVILEGED or (word == "mov" and (" cr" in text or ",cr" in text or " dr" in text or ",dr" in text)):
        return _finding(supervisor, fault, "MM-1102", detail, f"{source}: ring 0 only")
    if word in _RETURNS or (word in _FAR and fault.error_code):
        return _finding(supervisor, fault, "MM-1105", detail, "syscall-abi.md §3.3: the only way back is the call gate")
    if fault.error_code == 0:
        return _finding(supervisor, fault, "MM-1208", detail, f"{source}: {_ADDRESS}")
    return _finding(supervisor, fault, "MM-1106", detail, source)


def _mnemonic(text: str) -> str:
    words = text.split()
    while words and words[0] in ("lock", "rep", "repe", "repne", "bnd", "notrack"):
        words.pop(0)
    return words[0] if words else ""
