"""Ways to exhaust, to nest, to act on another CPU or too early, and to leave ring 3 by another door."""

from __future__ import annotations

from collections.abc import Sequence

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.pi.status import Status
from tests.hostile.attacks_calls import data, own_code, policy, refused
from tests.hostile.attacks_memory import NOT_CODE, READ, READ_ONLY, SUPERVISOR, WRITE, fault, own_handle
from tests.hostile.scripts import SHORT, SMALL, Attack, Make, Of, Operation, Scene, Script, Step, Stop, call, step

C, Do, S = CallNumber, Operation, Status
FEW = 2
"""Pages of MMRAM that are left before the pool is to run dry."""


def dry(scene: Scene) -> Step:
    """Take the largest piece of free MMRAM but for a few pages."""
    records = scene.core.supervisor.pages.records
    largest = max(piece.size for piece in records if piece.value and piece.value.free) >> 12
    return call(C.SMM_ALOC_PAGE, 0, 6, largest - FEW)


def stored(scene: Scene, *steps: Step) -> list[Step]:
    """Put a script where ScriptStoredHandler finds it."""
    place = scene.at("gScriptStored")
    words = [word for one in steps for word in one.words()]
    used = [(n, word) for n, word in enumerate(words) if word]
    return [
        step(Do.WRITE, place + 8, len(steps)),
        *(step(Do.WRITE, place + 24 + 8 * 16 + 8 * n, word) for n, word in used),
    ]


def root(scene: Scene, *steps: Step) -> list[Step]:
    """Register a root handler that takes steps; it runs at the end of this very MMI."""
    return [*stored(scene, *steps), call(C.SMM_REG_HNDL, scene.at("ScriptStoredHandler"), 0)]


def used_up(number: CallNumber) -> Stop:
    return refused(number, S.OUT_OF_RESOURCES, kind="MM-1004")


EXHAUSTED = [
    Attack(
        "allocate pages until there are none",
        lambda _: Script([call(C.SMM_ALOC_PAGE, 0, 6, 64, repeat=100)]),
        lambda _: Script([call(C.SMM_ALOC_PAGE, 0, 6, 64)]),
        used_up(C.SMM_ALOC_PAGE),
        description=SMALL,
    ),
    Attack(
        "allocate one page more than there is",
        lambda scene: Script([dry(scene), call(C.SMM_ALOC_PAGE, 0, 6, 4096)]),
        lambda scene: Script([dry(scene), call(C.SMM_ALOC_PAGE, 0, 6, 1)]),
        used_up(C.SMM_ALOC_PAGE),
        alone=True,
    ),
    Attack(
        "register handlers until the pool is dry",
        lambda scene: Script([dry(scene), call(C.SMM_REG_HNDL, own_code(scene), 0, repeat=5000)]),
        lambda scene: Script([call(C.SMM_REG_HNDL, own_code(scene), 0), call(C.SMM_UNREG_HNDL, Of(0))]),
        used_up(C.SMM_REG_HNDL),
        alone=True,
    ),
    Attack(
        "install protocols until the pool is dry",
        lambda scene: Script([dry(scene), call(C.SMM_INST_PROT, scene.data, repeat=5000)]),
        lambda scene: Script([call(C.SMM_INST_PROT, scene.data, repeat=2)]),
        used_up(C.SMM_INST_PROT),
        alone=True,
    ),
    Attack(
        "register a root handler in every root handler",
        lambda scene: Script([dry(scene), *root(scene, call(C.SMM_REG_HNDL, scene.at("ScriptStoredHandler"), 0))]),
        lambda scene: Script([dry(scene), *root(scene, call(C.SMM_QRY_HOB))]),
        used_up(C.SMM_REG_HNDL),
        alone=True,
    ),
    Attack(
        "never come back",
        lambda scene: Script([step(Do.JUMP, scene.at("AtJump"))]),
        lambda scene: Script([step(Do.JUMP, own_code(scene))]),
        Stop("MM-1301", "architecture.md"),
        description=SHORT,
    ),
    Attack(
        "never come back, in a string move",
        lambda scene: Script([step(Do.COPY, scene.data, scene.data, 8, repeat=1 << 30)]),
        lambda scene: Script([step(Do.COPY, scene.data, scene.data, 8, repeat=9)]),
        Stop("MM-1301", "architecture.md"),
        description=SHORT,
    ),
    Attack(
        "ask without end",
        lambda _: Script([call(C.SMM_QRY_HOB, repeat=(1 << 32) - 1)]),
        lambda _: Script([call(C.SMM_QRY_HOB, repeat=9)]),
        Stop("MM-1301", "architecture.md"),
        description=SHORT,
    ),
]


def remote(cpu: int, *steps: Step) -> Make:
    """Let an application processor take steps."""
    return lambda scene: Script([call(C.SMM_START_AP_PROC, scene.at("ScriptRemote"), cpu, scene.message)], steps)


def remote_at(cpu: int, operation: Operation, *find: object) -> Make:
    def make(scene: Scene) -> Script:
        operands: Sequence[int] = [one(scene) if callable(one) else int(str(one)) for one in find]
        return remote(cpu, step(operation, *operands))(scene)

    return make


ON_ANOTHER_CPU = [
    Attack(
        "let another CPU read the policy",
        remote_at(1, Do.READ, policy),
        remote_at(1, Do.READ, data),
        fault(SUPERVISOR, Do.READ, READ, policy, cpu=1),
    ),
    Attack(
        "let the last CPU write the HOB list",
        remote_at(3, Do.WRITE, lambda scene: scene.core.supervisor.hob_list, 1),
        remote_at(3, Do.WRITE, data, 1),
        fault(READ_ONLY, Do.WRITE, WRITE, lambda scene: scene.core.supervisor.hob_list, cpu=3),
    ),
    Attack(
        "let another CPU execute data",
        lambda scene: Script([call(C.SMM_START_AP_PROC, scene.data, 1, scene.message)]),
        remote(1, call(C.SMM_QRY_HOB)),
        Stop(*NOT_CODE, vector=14, error_code=0x15, address=data, cpu=1),
    ),
    Attack(
        "let another CPU execute a handle",
        lambda scene: Script([call(C.SMM_START_AP_PROC, own_handle(scene), 1, scene.message)]),
        remote(1, call(C.SMM_QRY_HOB)),
        refused(C.SMM_START_AP_PROC, S.SECURITY_VIOLATION),
    ),
    Attack(
        "give another CPU an argument in the policy",
        lambda scene: Script([call(C.SMM_START_AP_PROC, own_code(scene), 1, policy(scene))]),
        remote(1, call(C.SMM_QRY_HOB)),
        refused(C.SMM_START_AP_PROC, S.SECURITY_VIOLATION),
    ),
    Attack(
        "let another CPU allocate pages",
        remote(1, call(C.SMM_ALOC_PAGE, 0, 6, 1)),
        remote(1, call(C.SMM_QRY_HOB)),
        refused(C.SMM_ALOC_PAGE, S.ACCESS_DENIED, cpu=1),
    ),
    Attack(
        "let another CPU never come back",
        remote_at(1, Do.JUMP, lambda scene: scene.at("AtJump")),
        remote_at(1, Do.JUMP, own_code),
        Stop("MM-1301", "architecture.md", cpu=1),
        description=SHORT,
    ),
    Attack(
        "let another CPU write a denied port",
        remote(2, call(C.SMM_SC_IO_WRITE, 0xCF8, 2, 0)),
        remote(2, call(C.SMM_SC_IO_READ, 0xCF8, 2)),
        Stop(
            "MM-1001", "ACCESS_DENIED: IO deny list", at="AtCall", call=C.SMM_SC_IO_WRITE, status=S.ACCESS_DENIED, cpu=2
        ),
    ),
]


def start(cpu: int) -> Make:
    """The BSP starts CPU 1, which starts another."""
    return lambda scene: remote(1, call(C.SMM_START_AP_PROC, own_code(scene), cpu, scene.data))(scene)


NESTED = [
    Attack("let a CPU start itself", start(1), start(2), refused(C.SMM_START_AP_PROC, S.INVALID_PARAMETER, cpu=1)),
    Attack(
        "let a CPU start the BSP, which waits for it",
        start(0),
        start(2),
        refused(C.SMM_START_AP_PROC, S.INVALID_PARAMETER, cpu=1),
    ),
    Attack(
        "let a CPU start one that is not there",
        start(4),
        start(3),
        refused(C.SMM_START_AP_PROC, S.SECURITY_VIOLATION, cpu=1),
    ),
    Attack(
        "let a chain of CPUs bite its tail",
        lambda scene: Script(
            [call(C.SMM_START_AP_PROC, scene.at("ScriptRemote"), 1, scene.message)],
            [call(C.SMM_START_AP_PROC, scene.at("ScriptRemote"), 2, scene.message)],
        ),
        start(2),
        refused(C.SMM_START_AP_PROC, S.INVALID_PARAMETER, cpu=2),
    ),
    Attack(
        "let a root handler break a rule",
        lambda scene: Script(root(scene, step(Do.READ, policy(scene)))),
        lambda scene: Script(root(scene, step(Do.READ, data(scene)))),
        fault(SUPERVISOR, Do.READ, READ, policy),
    ),
    Attack(
        "let a root handler unregister itself and another's",
        lambda scene: Script(root(scene, call(C.SMM_UNREG_HNDL, own_handle(scene)))),
        lambda scene: Script(root(scene, call(C.SMM_QRY_HOB))),
        refused(C.SMM_UNREG_HNDL, S.INVALID_PARAMETER),
    ),
]

GATE = ("MM-1105", "syscall-abi.md §3.3")


def leave(selector: int) -> Make:
    return lambda scene: Script([step(Do.LEAVE, 0, selector << 32 | own_code(scene) & 0xFFFF_FFFF)])


def gate(selector: int) -> Stop:
    return Stop(*GATE, at="AtLeave", vector=13, error_code=selector & ~3)


def stayed(scene: Scene) -> Script:
    return Script([step(Do.JUMP, own_code(scene))])


LEFT = [
    Attack("leave to ring 0's code segment", leave(0x38), stayed, gate(0x38)),
    Attack("leave to the 32-bit code segment", leave(0x08), stayed, gate(0x08)),
    Attack("leave to a data segment", leave(0x40), stayed, gate(0x40)),
    Attack("leave beyond the descriptor table", leave(0xFFF8), stayed, gate(0xFFF8)),
    Attack("leave through the local descriptor table", leave(0x0C), stayed, gate(0x0C)),
]

ATTACKS = [*EXHAUSTED, *ON_ANOTHER_CPU, *NESTED, *LEFT]
