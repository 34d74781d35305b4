"""Ways to read, write and execute what is not the driver's."""

from __future__ import annotations

from collections.abc import Callable

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE
from tests.hostile.scripts import LABELS, Attack, Make, Of, Operation, Scene, Script, Stop, call, hand_page_back, step

C, Do = CallNumber, Operation
READ, WRITE, FETCH = 5, 7, 0x15
"""Page-fault error codes of ring 3 on a page that is present."""
ABSENT = ~1

SUPERVISOR = ("MM-1202", "memory.md §4: a supervisor page")
AFTER_FREE = ("MM-1213", "memory.md §4: a supervisor page since it was freed")
READ_ONLY = ("MM-1203", "memory.md §4: the page is read-only")
NOT_CODE = ("MM-1204", "memory.md §4: the page is not executable")
CLOSED = ("MM-1201", "memory.md §7: outside MMRAM only unblocked pages are present")
BEYOND = ("MM-1211", "memory.md §7: outside MMRAM only unblocked pages are present")
NULL = ("MM-1205", "memory.md §6: page 0 is never present")
NOTHING = ("MM-1207", "memory.md §7: there is nothing at that address")
WILD = ("MM-1208", "syscall-abi.md §9")

Address = Callable[[Scene], int]
Why = tuple[str, str]


def one(operation: Operation, *operands: Callable[[Scene], int] | int) -> Make:
    """A script of one step."""
    return lambda scene: Script([step(operation, *(o if isinstance(o, int) else o(scene) for o in operands))])


def fault(why: Why, at: Operation, error_code: int, address: Address | None, **more: int) -> Stop:
    """A page fault at an operation's instruction."""
    return Stop(*why, at=LABELS[at], vector=14, error_code=error_code, address=address, **more)  # type: ignore[arg-type]


def landed(why: Why, error_code: int, address: Address) -> Stop:
    """A page fault on fetching from where a jump went."""
    return Stop(*why, place=address, vector=14, error_code=error_code, address=address)


def data(scene: Scene) -> int:
    return scene.data


def of(find: Callable[[Supervisor], int]) -> Address:
    return lambda scene: find(scene.core.supervisor)


# What a driver would carry out to its sender, or write over: everything that is not ring 3's, each by a string move.
TREASURES: dict[str, tuple[Address, Why, int]] = {
    "isolation policy": (of(lambda s: s.policy_address), SUPERVISOR, READ),
    "supervisor pool": (of(lambda s: s.modules.modules[-1].handle), SUPERVISOR, READ),
    "core's image": (of(lambda s: s.core_base), SUPERVISOR, READ),
    "SMI entry code": (of(lambda s: s.cpus[0].smbase + 0x8000), SUPERVISOR, READ),
    "another CPU's save state": (of(lambda s: s.cpus[1].smbase + 0xFE00), SUPERVISOR, READ),
    "the supervisor channel's copy": (of(lambda s: s.supervisor.internal), SUPERVISOR, READ),
    "the outer comm buffer": (of(lambda s: s.user.external), SUPERVISOR, READ),
    "the supervisor's mailbox": (of(lambda s: s.supervisor.status), SUPERVISOR, READ),
    "free MMRAM": (lambda scene: scene.free_page, SUPERVISOR, READ),
    "memory of the operating system": (lambda _: 0x200_0000, CLOSED, READ & ABSENT),
    "a hole": (lambda scene: scene.session.description.memory_top + 0x1000, NOTHING, READ & ABSENT),
    "page 0": (lambda _: 0x400, NULL, READ & ABSENT),
}

CARRIED_OUT = [
    Attack(
        f"copy {name} into the reply",
        lambda scene, find=find: Script([step(Do.COPY, scene.message + 0x300, find(scene), 64)]),  # type: ignore[misc]
        lambda scene: Script([step(Do.COPY, scene.message + 0x300, scene.data, 64)]),
        fault(why, Do.COPY, code, find),
    )
    for name, (find, why, code) in TREASURES.items()
]

OVERWRITTEN = [
    Attack(
        f"copy the message over {name}",
        lambda scene, find=find: Script([step(Do.COPY, find(scene), scene.message, 64)]),  # type: ignore[misc]
        lambda scene: Script([step(Do.COPY, scene.data, scene.message, 64)]),
        fault(why, Do.COPY, code | 2, find),
    )
    for name, (find, why, code) in TREASURES.items()
]

# By every kind of instruction: what begins in a page of one's own and ends in another's, and what writes by reading.
END = PAGE_SIZE - 4


def across(operation: Operation, *operands: int) -> Make:
    """Touch the end of one's last page and what follows it: step 0 is the page, step 1 gave back the next one."""
    return lambda _: Script([*hand_page_back(2), step(operation, Of(0, END), *operands)])


def within(operation: Operation, *operands: int) -> Make:
    return lambda _: Script([*hand_page_back(2), step(operation, Of(0, END - 60), *operands)])


def next_page(scene: Scene) -> int:
    return scene.result(0) + PAGE_SIZE


STRADDLING = [
    Attack(
        "read 8 bytes across the end of a page",
        across(Do.READ),
        within(Do.READ),
        fault(AFTER_FREE, Do.READ, READ, next_page),
    ),
    Attack(
        "write 8 bytes across the end of a page",
        across(Do.WRITE, -1),
        within(Do.WRITE, -1),
        fault(AFTER_FREE, Do.WRITE, WRITE, next_page),
    ),
    Attack(
        "add across the end of a page, locked",
        across(Do.ADD, 1),
        within(Do.ADD, 1),
        fault(AFTER_FREE, Do.ADD, WRITE, next_page),
    ),
    Attack(
        "read 16 bytes across the end of a page",
        across(Do.READ_VECTOR),
        within(Do.READ_VECTOR),
        fault(AFTER_FREE, Do.READ_VECTOR, READ, next_page),
    ),
    Attack(
        "write 16 bytes across the end of a page",
        across(Do.WRITE_VECTOR, -1),
        within(Do.WRITE_VECTOR, -1),
        fault(AFTER_FREE, Do.WRITE_VECTOR, WRITE, next_page),
    ),
    Attack(
        "fill on over the end of a page",
        across(Do.FILL, 0xAA, 1 << 40),
        within(Do.FILL, 0xAA, 64),
        fault(AFTER_FREE, Do.FILL, WRITE, next_page),
    ),
    Attack(
        "push below the start of a page",
        lambda _: Script([*hand_page_back(1), call(C.SMM_ALOC_PAGE, 0, 6, 1), step(Do.PUSH, Of(2))]),
        lambda _: Script([*hand_page_back(1), call(C.SMM_ALOC_PAGE, 0, 6, 1), step(Do.PUSH, Of(2, 64))]),
        fault(AFTER_FREE, Do.PUSH, WRITE, lambda scene: scene.result(2) - 8),
    ),
    Attack(
        "copy on over the end of ring 3",
        lambda scene: Script([step(Do.COPY, scene.data, scene.end_of_ring3 - 32, 64)]),
        lambda scene: Script([step(Do.COPY, scene.data, scene.end_of_ring3 - 32, 32)]),
        fault(SUPERVISOR, Do.COPY, READ, lambda scene: scene.end_of_ring3),
    ),
    Attack(
        "copy on over the end of what was unblocked",
        lambda scene: Script([step(Do.COPY, scene.data, scene.outside + 0x1FC0, 128)]),
        lambda scene: Script([step(Do.COPY, scene.data, scene.outside + 0x1FC0, 64)]),
        fault(BEYOND, Do.COPY, READ & ABSENT, lambda scene: scene.outside + 0x2000),
    ),
    Attack(
        "read 8 bytes across the end of what was unblocked",
        one(Do.READ, lambda scene: scene.outside + 0x1FFC),
        one(Do.READ, lambda scene: scene.outside + 0x1FF8),
        fault(BEYOND, Do.READ, READ & ABSENT, lambda scene: scene.outside + 0x2000),
    ),
]


def hob_list(scene: Scene) -> int:
    return scene.core.supervisor.hob_list


def own_code(scene: Scene) -> int:
    return scene.at("ScriptReturn") & -16


def own_constant(scene: Scene) -> int:
    return scene.at("mOperations")


def own_handle(scene: Scene) -> int:
    return scene.module.handle & -16


INSTRUCTIONS = [
    Attack(
        "add to the HOB list, locked",
        one(Do.ADD, hob_list, 1),
        one(Do.ADD, data, 1),
        fault(READ_ONLY, Do.ADD, WRITE, hob_list),
    ),
    Attack(
        "add to own code, locked",
        one(Do.ADD, own_code, 1),
        one(Do.ADD, data, 1),
        fault(READ_ONLY, Do.ADD, WRITE, own_code),
    ),
    Attack(
        "store a vector to a constant",
        one(Do.WRITE_VECTOR, own_constant, 1),
        one(Do.WRITE_VECTOR, data, 1),
        fault(READ_ONLY, Do.WRITE_VECTOR, WRITE, own_constant),
    ),
    Attack(
        "load a vector from supervisor pool",
        one(Do.READ_VECTOR, own_handle),
        one(Do.READ_VECTOR, data),
        fault(SUPERVISOR, Do.READ_VECTOR, READ, own_handle),
    ),
    Attack(
        "store the x87 state to supervisor pool",
        one(Do.SAVE, own_handle),
        one(Do.SAVE, data),
        fault(SUPERVISOR, Do.SAVE, WRITE, own_handle),
    ),
    Attack(
        "store the x87 state to the HOB list",
        one(Do.SAVE, hob_list),
        one(Do.SAVE, data),
        fault(READ_ONLY, Do.SAVE, WRITE, hob_list),
    ),
    Attack(
        "use the HOB list as stack",
        one(Do.PUSH, lambda scene: hob_list(scene) + 64),
        one(Do.PUSH, lambda scene: data(scene) + 64),
        fault(READ_ONLY, Do.PUSH, WRITE, lambda scene: hob_list(scene) + 56),
    ),
    Attack(
        "use own code as stack",
        one(Do.PUSH, lambda scene: own_code(scene) + 8),
        one(Do.PUSH, lambda scene: data(scene) + 64),
        fault(READ_ONLY, Do.PUSH, WRITE, own_code),
    ),
    Attack(
        "read at the last address",
        one(Do.READ, (1 << 64) - 8),
        one(Do.READ, data),
        fault(NOTHING, Do.READ, READ & ABSENT, lambda _: (1 << 64) - 8),
    ),
    Attack(
        "read beyond the address width",
        one(Do.READ, 1 << 46),
        one(Do.READ, data),
        fault(NOTHING, Do.READ, READ & ABSENT, lambda _: 1 << 46),
    ),
    Attack(
        "read where no address can be",
        one(Do.READ, 1 << 63),
        one(Do.READ, data),
        Stop(*WILD, at="AtRead", vector=13, error_code=0),
    ),
    Attack(
        "store the x87 state where it is not aligned",
        one(Do.SAVE, lambda scene: data(scene) + 8),
        one(Do.SAVE, data),
        Stop(*WILD, at="AtSave", vector=13, error_code=0),
    ),
]


def jump(target: Address) -> Make:
    return one(Do.JUMP, target)


def invoke(target: Address) -> Make:
    return one(Do.INVOKE, target)


def ret(scene: Scene) -> int:
    return scene.at("ScriptReturn")


def broker_table(scene: Scene) -> int:
    return scene.core.supervisor.jumps.user_table


EXECUTED = [
    Attack(
        "jump into the core",
        jump(of(lambda s: s.core_base)),
        jump(ret),
        landed(SUPERVISOR, FETCH, of(lambda s: s.core_base)),
    ),
    Attack(
        "jump into the SMI entry code",
        jump(of(lambda s: s.cpus[0].smbase + 0x8000)),
        jump(ret),
        landed(SUPERVISOR, FETCH, of(lambda s: s.cpus[0].smbase + 0x8000)),
    ),
    Attack("call a handle", invoke(own_handle), invoke(ret), landed(SUPERVISOR, FETCH, own_handle)),
    Attack(
        "jump to memory that was unblocked",
        jump(lambda scene: scene.outside),
        jump(ret),
        landed(NOT_CODE, FETCH, lambda scene: scene.outside),
    ),
    Attack(
        "call memory of the operating system",
        invoke(lambda _: 0x200_0000),
        invoke(ret),
        landed(CLOSED, FETCH & ABSENT, lambda _: 0x200_0000),
    ),
    Attack(
        "jump to the outer comm buffer",
        jump(of(lambda s: s.user.external)),
        jump(ret),
        landed(SUPERVISOR, FETCH, of(lambda s: s.user.external)),
    ),
    Attack(
        "jump into the message",
        jump(lambda scene: scene.message),
        jump(ret),
        landed(NOT_CODE, FETCH, lambda scene: scene.message),
    ),
    Attack(
        "call the MM system table as code",
        invoke(broker_table),
        invoke(ret),
        Stop(
            *NOT_CODE, place=lambda scene: scene.at("AtInvoke") + 2, vector=14, error_code=FETCH, address=broker_table
        ),
    ),
    Attack("jump to a device", jump(lambda _: 0xFEC0_0000), jump(ret), landed(NOT_CODE, FETCH, lambda _: 0xFEC0_0000)),
    Attack(
        "write code into a page and jump there",
        lambda _: Script([call(C.SMM_ALOC_PAGE, 0, 6, 1), step(Do.FILL, Of(0), 0xC3, 16), step(Do.JUMP, Of(0))]),
        lambda scene: Script(
            [call(C.SMM_ALOC_PAGE, 0, 6, 1), step(Do.FILL, Of(0), 0xC3, 16), step(Do.JUMP, ret(scene))]
        ),
        landed(NOT_CODE, FETCH, lambda scene: scene.result(0)),
    ),
    Attack("jump to address 0", jump(lambda _: 0), jump(ret), landed(NULL, FETCH & ABSENT, lambda _: 0)),
]


def stack_pages(scene: Scene) -> int:
    return scene.core.supervisor.stacks.size // PAGE_SIZE


def stack_pointer(scene: Scene) -> int:
    rsp = scene.core.supervisor.processor.registers().rsp
    base = scene.core.supervisor.stacks.base
    assert base <= rsp < base + scene.core.supervisor.stacks.size
    return rsp


GIVEN_BACK = [
    Attack(
        "read a page that was freed",
        lambda _: Script([*hand_page_back(), step(Do.READ, Of(0))]),
        lambda _: Script([*hand_page_back(2), step(Do.READ, Of(0))]),
        fault(AFTER_FREE, Do.READ, READ, lambda scene: scene.result(0)),
    ),
    Attack(
        "write a page that was freed",
        lambda _: Script([*hand_page_back(), step(Do.WRITE, Of(0), 1)]),
        lambda _: Script([*hand_page_back(2), step(Do.WRITE, Of(0), 1)]),
        fault(AFTER_FREE, Do.WRITE, WRITE, lambda scene: scene.result(0)),
    ),
    Attack(
        "free the code under way",
        lambda scene: Script([call(C.SMM_FREE_PAGE, scene.at("DoCall") & -PAGE_SIZE, 1)]),
        lambda _: Script(hand_page_back()),
        landed(AFTER_FREE, FETCH, lambda scene: scene.at("AtCall") + 2),
    ),
    Attack(
        "free the stack under way",
        lambda scene: Script([call(C.SMM_FREE_PAGE, scene.core.supervisor.stacks.base, stack_pages(scene))]),
        lambda _: Script(hand_page_back()),
        Stop(
            *AFTER_FREE,
            place=lambda scene: scene.at("AtCall") + 2,
            vector=14,
            error_code=READ,
            address=stack_pointer,
            given_up=("buffers_are_owned_right",),
        ),
    ),
]


ATTACKS = [*CARRIED_OUT, *OVERWRITTEN, *STRADDLING, *INSTRUCTIONS, *EXECUTED, *GIVEN_BACK]
