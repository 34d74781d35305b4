"""Ways to let the supervisor do what the driver may not: system calls with another's memory, numbers and handles."""

from __future__ import annotations

from collections.abc import Callable

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from tests.hostile.attacks_memory import AFTER_FREE, END, NOT_CODE, hob_list
from tests.hostile.scripts import Attack, Make, Of, Operand, Operation, Scene, Script, Step, Stop, call, hand_page_back

C, S = CallNumber, Status
LEGACY, TABLE = "syscall-abi.md §7.1: EFI_", "syscall-abi.md §7.2: EFI_"
PROCESSOR_ID = 514
COOKIE = 0x7777

Argument = Callable[[Scene], int] | int


def made(number: CallNumber | int, *arguments: Argument) -> Make:
    """A script of one call."""
    return lambda scene: Script([call(number, *(a if isinstance(a, int) else a(scene) for a in arguments))])


def refused(number: CallNumber, status: Status, *, legacy: bool = False, kind: str = "MM-1002", cpu: int = 0) -> Stop:
    """A call that is fatal for a status."""
    rule = f"{LEGACY if legacy else TABLE}{status.name}"
    return Stop(kind, rule, at="AtCall", call=number, status=status, cpu=cpu)


def unknown(number: int) -> Stop:
    return Stop("MM-1003", "syscall-abi.md §7", at="AtCall", call=number, status=S.INVALID_PARAMETER)


def ring0(number: CallNumber, address: Callable[[Scene], int]) -> Stop:
    """A pointer that passes the check of owners and lets ring 0 itself fault, as on the device."""
    return Stop("MM-1302", "syscall-abi.md", at="AtCall", vector=14, address=address, call=number)


def denied(number: CallNumber, rule: str) -> Stop:
    return Stop("MM-1001", f"ACCESS_DENIED: {rule}", at="AtCall", call=number, status=S.ACCESS_DENIED)


def data(scene: Scene) -> int:
    return scene.data


def handle(scene: Scene) -> int:
    return scene.module.handle


def policy(scene: Scene) -> int:
    return scene.core.supervisor.policy_address


def closed(_scene: Scene) -> int:
    return 0x200_0000


def own_code(scene: Scene) -> int:
    return scene.at("ScriptReturn")


def save_state(buffer: Operand, width: int = 8, *before: Step) -> list[Step]:
    """Read the processor's identity into a buffer."""
    named = call(C.SMM_SC_SVST_READ, COOKIE, PROCESSOR_ID, 0)
    return [*before, named, call(C.SMM_SC_SVST_READ_2, COOKIE, width, buffer)]


def state_into(buffer: Callable[[Scene], int]) -> Make:
    return lambda scene: Script(save_state(buffer(scene)))


READ_2 = C.SMM_SC_SVST_READ_2
good_state = state_into(data)

WRITTEN_BY_RING_0 = [
    Attack(
        "have the save state written to the policy",
        state_into(policy),
        good_state,
        refused(READ_2, S.SECURITY_VIOLATION),
    ),
    Attack(
        "have the save state written to a mailbox",
        state_into(lambda scene: scene.core.supervisor.user.status),
        good_state,
        refused(READ_2, S.SECURITY_VIOLATION),
    ),
    Attack(
        "have the save state written across the end of a page",
        lambda _: Script(save_state(Of(0, END), 8, *hand_page_back(2))),
        lambda _: Script(save_state(Of(0, END - 4), 8, *hand_page_back(2))),
        refused(READ_2, S.SECURITY_VIOLATION),
    ),
    Attack("have the save state written to own code", state_into(own_code), good_state, ring0(READ_2, own_code)),
    Attack("have the save state written to the HOB list", state_into(hob_list), good_state, ring0(READ_2, hob_list)),
    Attack("have the save state written to closed memory", state_into(closed), good_state, ring0(READ_2, closed)),
    Attack(
        "have the whole of memory written",
        lambda scene: Script(save_state(scene.data, 1 << 62)),
        good_state,
        refused(READ_2, S.SECURITY_VIOLATION),
    ),
    Attack(
        "have a range written that wraps",
        lambda scene: Script(save_state(scene.data, (1 << 64) - 1)),
        good_state,
        refused(READ_2, S.SECURITY_VIOLATION),
    ),
    Attack(
        "set the MM system table over the policy",
        made(C.SMM_SET_CPL3_TBL, policy),
        made(C.SMM_QRY_HOB),
        refused(C.SMM_SET_CPL3_TBL, S.SECURITY_VIOLATION),
    ),
]

READ_BY_RING_0 = [
    Attack(
        "install a protocol by a GUID across the end of a page",
        lambda _: Script([*hand_page_back(2), call(C.SMM_INST_PROT, Of(0, END))]),
        lambda _: Script([*hand_page_back(2), call(C.SMM_INST_PROT, Of(0, END - 12))]),
        refused(C.SMM_INST_PROT, S.SECURITY_VIOLATION),
    ),
    Attack(
        "install a protocol by a GUID in closed memory",
        made(C.SMM_INST_PROT, closed),
        made(C.SMM_INST_PROT, data),
        ring0(C.SMM_INST_PROT, closed),
    ),
    Attack(
        "install a protocol by a GUID in free MMRAM",
        made(C.SMM_INST_PROT, lambda scene: scene.free_page),
        made(C.SMM_INST_PROT, data),
        refused(C.SMM_INST_PROT, S.SECURITY_VIOLATION),
    ),
    Attack(
        "register a handler by a GUID in the policy",
        lambda scene: Script([call(C.SMM_REG_HNDL, own_code(scene), policy(scene))]),
        lambda scene: Script([call(C.SMM_REG_HNDL, own_code(scene), scene.data), call(C.SMM_UNREG_HNDL, Of(0))]),
        refused(C.SMM_REG_HNDL, S.SECURITY_VIOLATION),
    ),
    Attack(
        "register a handler by a GUID in a page that was freed",
        lambda scene: Script([*hand_page_back(), call(C.SMM_REG_HNDL, own_code(scene), Of(0))]),
        lambda scene: Script(
            [
                call(C.SMM_ALOC_PAGE, 0, 6, 1),
                call(C.SMM_REG_HNDL, own_code(scene), Of(0)),
                call(C.SMM_UNREG_HNDL, Of(1)),
            ]
        ),
        refused(C.SMM_REG_HNDL, S.SECURITY_VIOLATION),
    ),
    Attack(
        "install a configuration table that lies in the core",
        made(C.SMM_INST_CONF_T, data, lambda scene: scene.core.supervisor.core_base, 64),
        made(C.SMM_INST_CONF_T, data, data, 64),
        refused(C.SMM_INST_CONF_T, S.SECURITY_VIOLATION),
    ),
    Attack(
        "install a configuration table as long as memory",
        made(C.SMM_INST_CONF_T, data, data, 1 << 40),
        made(C.SMM_INST_CONF_T, data, data, 64),
        refused(C.SMM_INST_CONF_T, S.SECURITY_VIOLATION),
    ),
]

FREED = [
    Attack(
        "free a page twice",
        lambda _: Script([*hand_page_back(), call(C.SMM_FREE_PAGE, Of(0), 1)]),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
    Attack(
        "free more pages than were allocated",
        made(C.SMM_FREE_PAGE, lambda scene: scene.end_of_ring3 - PAGE_SIZE, 2),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
    Attack(
        "free the isolation policy",
        made(C.SMM_FREE_PAGE, policy, 1),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
    Attack(
        "free the supervisor's pool",
        made(C.SMM_FREE_PAGE, lambda scene: handle(scene) & -PAGE_SIZE, 1),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
    Attack(
        "free memory that was unblocked",
        made(C.SMM_FREE_PAGE, lambda scene: scene.outside, 2),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.NOT_FOUND, kind="MM-1004"),
    ),
    Attack(
        "free a device",
        made(C.SMM_FREE_PAGE, 0xFEC0_0000, 1),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.NOT_FOUND, kind="MM-1004"),
    ),
    Attack(
        "free within a page",
        made(C.SMM_FREE_PAGE, data, 1),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.INVALID_PARAMETER),
    ),
    Attack(
        "free no page at all",
        made(C.SMM_FREE_PAGE, data, 0),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
    Attack(
        "free pages until the size wraps",
        made(C.SMM_FREE_PAGE, data, 1 << 52),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
    Attack(
        "free all of memory",
        made(C.SMM_FREE_PAGE, PAGE_SIZE, (1 << 40) - 1),
        lambda _: Script(hand_page_back()),
        refused(C.SMM_FREE_PAGE, S.SECURITY_VIOLATION),
    ),
]

NUMBERS = [
    Attack("call the number -1", made((1 << 64) - 1), made(C.SMM_QRY_HOB), unknown((1 << 64) - 1)),
    Attack(
        "call a served number with its sign bit set",
        made(C.SMM_QRY_HOB | 1 << 63),
        made(C.SMM_QRY_HOB),
        unknown(C.SMM_QRY_HOB | 1 << 63),
    ),
    Attack("call a number between the groups", made(0x8000), made(C.SMM_QRY_HOB), unknown(0x8000)),
    Attack(
        "write a port that the policy denies",
        made(C.SMM_SC_IO_WRITE, 0xCF8, 2, 0x8000_0000),
        made(C.SMM_SC_IO_READ, 0xCF8, 2),
        denied(C.SMM_SC_IO_WRITE, "IO deny list"),
    ),
    Attack(
        "switch SYSCALL off by an MSR",
        made(C.SMM_SC_WRMSR, 0xC000_0080, 0),
        made(C.SMM_SC_RDMSR, 0x1B),
        denied(C.SMM_SC_WRMSR, "MSR deny list"),
    ),
    Attack(
        "send SYSCALL elsewhere by an MSR",
        made(C.SMM_SC_WRMSR, 0xC000_0082, data),
        made(C.SMM_SC_RDMSR, 0x1B),
        denied(C.SMM_SC_WRMSR, "MSR deny list"),
    ),
    Attack(
        "hide an MSR's number in its upper half",
        made(C.SMM_SC_WRMSR, 0x1_C000_0082, data),
        made(C.SMM_SC_RDMSR, 0x1B),
        denied(C.SMM_SC_WRMSR, "MSR deny list"),
    ),
    Attack(
        "read a port past the last",
        made(C.SMM_SC_IO_READ, 0xFFFD, 2),
        made(C.SMM_SC_IO_READ, 0x80, 0),
        refused(C.SMM_SC_IO_READ, S.INVALID_PARAMETER, legacy=True),
    ),
    Attack(
        "name a port by more than 16 bits",
        made(C.SMM_SC_IO_READ, 0x1_0080, 0),
        made(C.SMM_SC_IO_READ, 0x80, 0),
        refused(C.SMM_SC_IO_READ, S.INVALID_PARAMETER, legacy=True),
    ),
    Attack(
        "read a register that is none",
        made(C.SMM_SC_SVST_READ, COOKIE, 515, 0),
        made(C.SMM_SC_SVST_READ, COOKIE, PROCESSOR_ID, 0),
        refused(C.SMM_SC_SVST_READ, S.INVALID_PARAMETER, legacy=True),
    ),
    Attack(
        "name a CPU by -1",
        made(C.SMM_SC_SVST_READ, COOKIE, PROCESSOR_ID, (1 << 64) - 1),
        made(C.SMM_SC_SVST_READ, COOKIE, PROCESSOR_ID, 0),
        refused(C.SMM_SC_SVST_READ, S.INVALID_PARAMETER, legacy=True),
    ),
]


def another_handler(scene: Scene) -> int:
    """The handle of a handler of the supervisor's own."""
    return next(one.handle for one in scene.core.supervisor.handlers.all() if one.supervisor is not None)


def registered_and_back(scene: Scene) -> Script:
    return Script([call(C.SMM_REG_HNDL, own_code(scene), scene.data), call(C.SMM_UNREG_HNDL, Of(0))])


def send_to_data(scene: Scene) -> object:
    """Send to the GUID that lies in the driver's data."""
    guid = scene.core.supervisor.memory.read(scene.data, 16)
    return scene.session.communicate(Guid(guid), bytes(8))


def handler_at(target: Callable[[Scene], int]) -> Make:
    """Register a handler that lies somewhere, for a GUID in the driver's data."""
    return lambda scene: Script(
        [Step(Operation.WRITE, (scene.data, 0x1234)), call(C.SMM_REG_HNDL, target(scene), scene.data)]
    )


def freed_handler(scene: Scene) -> int:
    handlers = scene.core.supervisor.handlers.all()
    return next(one.routine for one in handlers if one.guid is not None and one.guid.raw.startswith(b"\x34\x12\0"))


HANDLED_BADLY = [
    Attack(
        "unregister a handler of the supervisor",
        made(C.SMM_UNREG_HNDL, another_handler),
        registered_and_back,
        refused(C.SMM_UNREG_HNDL, S.INVALID_PARAMETER),
    ),
    Attack(
        "unregister an image handle",
        made(C.SMM_UNREG_HNDL, handle),
        registered_and_back,
        refused(C.SMM_UNREG_HNDL, S.INVALID_PARAMETER),
    ),
    Attack(
        "unregister within a handle",
        lambda scene: Script([call(C.SMM_REG_HNDL, own_code(scene), scene.data), call(C.SMM_UNREG_HNDL, Of(0, 8))]),
        registered_and_back,
        refused(C.SMM_UNREG_HNDL, S.INVALID_PARAMETER),
    ),
    Attack(
        "register a handler in the core",
        made(C.SMM_REG_HNDL, lambda scene: scene.core.supervisor.core_base, 0),
        registered_and_back,
        refused(C.SMM_REG_HNDL, S.SECURITY_VIOLATION),
    ),
    Attack(
        "register data as a handler",
        handler_at(data),
        handler_at(own_code),
        Stop(*NOT_CODE, place=None, vector=14, error_code=0x15, address=data),
        then=send_to_data,
        alone=True,
    ),
    Attack(
        "register closed memory as a handler",
        handler_at(closed),
        handler_at(own_code),
        Stop("MM-1201", "memory.md §7", place=None, vector=14, error_code=0x14, address=closed),
        then=send_to_data,
        alone=True,
    ),
    Attack(
        "register unblocked memory as a handler",
        handler_at(lambda scene: scene.outside),
        handler_at(own_code),
        Stop(*NOT_CODE, place=None, vector=14, error_code=0x15, address=lambda scene: scene.outside),
        then=send_to_data,
        alone=True,
    ),
    Attack(
        "register a handler in a page that is freed then",
        lambda scene: Script(
            [
                Step(Operation.WRITE, (scene.data, 0x1234)),
                call(C.SMM_ALOC_PAGE, 0, 6, 1),
                call(C.SMM_REG_HNDL, Of(1), scene.data),
                call(C.SMM_FREE_PAGE, Of(1), 1),
            ]
        ),
        handler_at(own_code),
        Stop(*AFTER_FREE, place=None, vector=14, error_code=0x15, address=freed_handler),
        then=send_to_data,
        alone=True,
    ),
]


AGAIN = [
    Attack(
        "register the jump pointers again",
        made(C.SMM_REG_HDL_JMP, own_code, own_code),
        made(C.SMM_QRY_HOB),
        refused(C.SMM_REG_HDL_JMP, S.ALREADY_STARTED),
    ),
    Attack(
        "name the second half of a profile record first",
        made(C.SMM_MM_HDL_REG_2, data, data, 8),
        made(C.SMM_QRY_HOB),
        Stop("MM-1002", TABLE, at="AtCall", call=C.SMM_MM_HDL_REG_2),
    ),
]

ATTACKS = [*WRITTEN_BY_RING_0, *READ_BY_RING_0, *FREED, *NUMBERS, *HANDLED_BADLY, *AGAIN]
