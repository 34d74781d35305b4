"""The stub as a process: it never outlives its supervisor, leaves nothing behind, and can be replaced."""

from __future__ import annotations

import gc
import os
import pwd
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor.interface import Died, Entry, ProcessorOptions, SystemCall
from mmsupervisor.processor.native.layout import STUB
from mmsupervisor.processor.native.native_processor import NativeProcessor
from mmsupervisor.processor.native.stub_memory import StubMemory
from mmsupervisor.processor.native.stub_unsafe import Stub, StubDiedError
from tests.processor.conformance.machine import CODE, DATA, RW, STACK_END, WRITABLE_CODE, Bench
from tests.processor.native.conftest import CHECKOUT, make_bench, stub_of

LOOP = "48ffc0 ebfb"
SYSCALL = "0f05"

PATIENCE = 120.0
"""Seconds; what ought to happen happens much sooner, but for a computer that is very busy."""


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    """Whether a process ends soon."""
    deadline = time.monotonic() + PATIENCE
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def wait_until_it_computes(pid: int) -> None:
    """Return once a process has used so much of the processor that it must be in its loop."""
    deadline = time.monotonic() + PATIENCE
    while time.clock_gettime_ns(~pid << 3 | 2) < 100_000_000:  # how Linux names the clock of a process
        assert time.monotonic() < deadline, "it does not compute"
        time.sleep(0.01)


def children(pid: int = 0) -> set[int]:
    pid = pid or os.getpid()
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def only_child(pid: int) -> int:
    """Return the one child of a process, once it has one."""
    deadline = time.monotonic() + PATIENCE
    while not (found := children(pid)):
        assert time.monotonic() < deadline, "it has no child"
        time.sleep(0.01)
    (child,) = found
    return child


# Nothing is left


def descriptors() -> Counter[str]:
    """Return what the descriptors of this process are of, once nobody's are given back."""
    gc.collect()
    found = Counter[str]()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found[str(entry.readlink())] += 1
    return found


def test_nothing_is_left_after_closing() -> None:
    before, processes = descriptors(), children()
    bench = make_bench()
    bench.enter(SYSCALL)
    assert children() - processes == {stub_of(bench).pid}
    bench.processor.close()
    assert descriptors() - before
    bench.memory.close()
    assert not descriptors() - before
    assert not children() - processes


def test_nothing_is_left_of_what_nobody_refers_to() -> None:
    before, processes = descriptors(), children()
    make_bench().enter(SYSCALL)
    gc.collect()
    assert not children() - processes
    left = descriptors() - before
    assert all("memfd:mm-ram" in name or "memfd:mm-flash" in name for name in left), left  # of the machine


def test_a_forked_process_does_not_end_the_stub_of_its_parent(bench: Bench) -> None:
    bench.enter("0f05 0f05")
    child = os.fork()
    if child == 0:
        bench.processor.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert isinstance(bench.processor.resume(), SystemCall)


def test_many_starts_leave_nothing() -> None:
    before, processes = descriptors(), children()
    memory = PhysicalMemory()
    for _ in range(30):
        NativeProcessor(memory, ProcessorOptions({})).close()
    assert (descriptors() - before).total() <= 1  # the memory's own
    assert not children() - processes
    memory.close()


SUPERVISOR = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
from tests.processor.native.conftest import make_bench, stub_of
from tests.processor.native.test_lifecycle import LOOP
bench = make_bench()
print(stub_of(bench).pid, flush=True)
what = sys.argv[1]
if what == "computing":
    bench.enter(LOOP)
elif what == "waiting":
    bench.enter("0f05")
    print("waiting", flush=True)
    time.sleep(600)
elif what == "interrupted":
    try:
        bench.enter(LOOP)
    except KeyboardInterrupt:
        print("interrupted", bench.processor.enter.__name__, flush=True)
        again = bench.enter("0f05")
        print(type(again).__name__, flush=True)
elif what == "forked":
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    bench.enter(LOOP)
elif what == "leaving":
    bench.enter("0f05")
"""


def start_supervisor(what: str, **more: object) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, what],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("what", ["computing", "waiting"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_stub_dies_with_its_supervisor(what: str, by: signal.Signals) -> None:
    process, stub = start_supervisor(what)
    if what == "computing":
        wait_until_it_computes(stub)
    else:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
    assert is_alive(stub)
    process.send_signal(by)
    process.wait(PATIENCE)
    assert ends(stub)


def test_the_stub_dies_though_a_forked_process_still_holds_its_filter() -> None:
    """Closing the listener would end the stub too; here only the kernel's signal at its parent's death does."""
    process, stub = start_supervisor("forked")
    wait_until_it_computes(stub)
    (forked,) = children(process.pid) - {stub}
    process.kill()
    process.wait(PATIENCE)
    ended = ends(stub)
    os.kill(forked, signal.SIGKILL)
    assert ended


def test_the_stub_dies_when_its_supervisor_leaves_without_closing() -> None:
    process, stub = start_supervisor("leaving")
    process.wait(PATIENCE)
    assert ends(stub)


def test_ctrl_c_ends_the_stub_and_a_new_one_can_be_used() -> None:
    process, stub = start_supervisor("interrupted")
    wait_until_it_computes(stub)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert out.split() == ["interrupted", "enter", "SystemCall"]
    assert ends(stub)


INTERRUPTED = """
import gc, os, signal, sys
from tests.processor.native.conftest import make_bench
from tests.processor.native.test_lifecycle import children
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interruption:
    \"\"\"Ctrl-C at a certain moment in the life of a stub, counted by what these modules call and return.\"\"\"

    def __init__(self, moment):
        self.left = moment

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename.endswith(("native_processor.py", "stub_unsafe.py", "kernel_unsafe.py")):
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)

moment, interrupted = 0, 0
while interrupted == moment:
    moment += 1
    bench = None
    sys.setprofile(Interruption(moment))
    try:
        bench = make_bench()
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        sys.setprofile(None)
    if bench is not None:
        bench.processor.close()
        bench.memory.close()
    bench = None
    if children():
        gc.collect()
    if children():
        print("left behind at moment", moment)
        os._exit(1)
print(moment)
"""


def test_ctrl_c_at_any_moment_of_the_start_leaves_no_process() -> None:
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert int(process.stdout) > 100


def test_ctrl_c_while_code_is_forgotten_ends_the_stub(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.enter(SYSCALL)
    stub = stub_of(bench)

    def interrupted(_milliseconds: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(stub._notifications, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.put(SYSCALL)
    assert not is_alive(stub.pid or 0)
    assert isinstance(bench.processor.resume(), Died)
    assert isinstance(bench.enter(SYSCALL), SystemCall)


def test_a_stub_that_somebody_else_reaps_ends_the_context(bench: Bench) -> None:
    bench.enter("0f05" + LOOP)
    stub = stub_of(bench)
    os.kill(stub.pid, signal.SIGKILL)
    os.waitpid(stub.pid, 0)
    ended = bench.processor.resume()
    assert isinstance(ended, Died)
    assert "somebody else" in ended.reason
    assert isinstance(bench.enter(SYSCALL), SystemCall)


def test_a_stub_that_is_killed_before_it_is_ready_is_a_refusal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    attach = StubMemory.attach

    def killed(memory: StubMemory, stub: Stub) -> None:
        attach(memory, stub)
        os.kill(stub.pid, signal.SIGKILL)
        os.waitpid(stub.pid, 0)

    monkeypatch.setattr(StubMemory, "attach", killed)
    with pytest.raises(MmSupervisorError, match="native processor: the stub is gone"):
        NativeProcessor(bench.memory, ProcessorOptions({}))
    assert children() == before


def test_the_clock_of_a_stub_that_somebody_else_reaped(bench: Bench) -> None:
    stub = stub_of(bench)
    os.kill(stub.pid, signal.SIGKILL)
    os.waitpid(stub.pid, 0)
    with pytest.raises(StubDiedError, match="somebody else"):
        stub.cpu_time()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_the_command_leaves_no_stub(tmp_path: Path, by: signal.Signals) -> None:
    (tmp_path / "loop.efi").write_bytes(prebuilt.image("LoopsForever"))
    words = ["run", str(tmp_path / "loop.efi"), "--processor", "native", "--budget", str(1 << 40)]
    process = subprocess.Popen([sys.executable, "-m", "mmsupervisor", *words], stdout=subprocess.PIPE)
    stub = only_child(process.pid)
    wait_until_it_computes(stub)
    process.send_signal(by)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == (130 if by is signal.SIGINT else -by)
    assert ends(stub)


def test_ctrl_c_at_the_terminal_does_not_reach_the_stub(bench: Bench) -> None:
    assert os.getpgid(stub_of(bench).pid) != os.getpgid(0)


def test_an_ordinary_user_can_run_it() -> None:
    if os.getuid() != 0:
        assert isinstance(make_bench().enter(SYSCALL), SystemCall)
        return
    nobody = pwd.getpwnam("nobody")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # what was imported stays; only the rights go
        outcome = "failed before it began"
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            made = make_bench()
            outcome = type(made.enter(SYSCALL)).__name__
            made.processor.close()
        except BaseException as failure:
            outcome = repr(failure)
        finally:
            os.write(write_end, outcome.encode())
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as reader:
        assert reader.read() == "SystemCall"
    os.waitpid(child, 0)


# Death and replacement


def test_a_stub_that_is_killed_ends_the_context_and_is_replaced(bench: Bench) -> None:
    bench.enter(SYSCALL)
    old = stub_of(bench).pid
    os.kill(old, signal.SIGKILL)
    ended = bench.processor.resume()
    assert isinstance(ended, Died)
    assert "SIGKILL" in ended.reason
    with pytest.raises(RuntimeError):
        bench.processor.resume()
    assert isinstance(bench.enter(SYSCALL), SystemCall)
    assert stub_of(bench).pid != old
    assert old not in children()


def test_a_suspended_context_outlives_its_stub(bench: Bench) -> None:
    bench.run("b907000000 660f6ec1 0f05 660f7ec2 0f05")  # movd xmm0, 7; syscall; movd edx, xmm0; syscall
    kept = bench.processor.suspend()
    os.kill(stub_of(bench).pid, signal.SIGKILL)
    bench.put(SYSCALL, CODE + PAGE_SIZE)
    assert isinstance(bench.go(CODE + PAGE_SIZE), SystemCall)
    bench.processor.restore(kept)
    call = bench.processor.resume(1)
    assert isinstance(call, SystemCall)
    assert (call.number, call.arguments[0]) == (1, 7)


def test_a_stub_that_is_stopped_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsupervisor.processor.native.crossing.MOST_IDLE", 0.2)
    bench.put("0f05" + LOOP)
    bench.go(CODE)
    os.kill(stub_of(bench).pid, signal.SIGSTOP)
    ended = bench.processor.resume()
    assert isinstance(ended, Died)
    assert "stopped" in ended.reason


def test_a_stub_that_was_stopped_and_continued_goes_on(bench: Bench) -> None:
    bench.enter("0f05 b807000000 0f05")
    stub = stub_of(bench)
    for _ in range(3):
        os.kill(stub.pid, signal.SIGSTOP)
        os.kill(stub.pid, signal.SIGCONT)
    call = bench.processor.resume()
    assert isinstance(call, SystemCall)
    assert call.number == 7


def test_memory_that_lies_too_high_is_refused() -> None:
    before = children()
    memory = PhysicalMemory(48)
    memory.add_ram(STUB, PAGE_SIZE, "high")
    with pytest.raises(MmSupervisorError, match="too high"):
        NativeProcessor(memory, ProcessorOptions({}))
    memory.close()
    assert not children() - before


FEW_DESCRIPTORS = """
import resource, sys
from tests.processor.native.conftest import make_bench
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
bench = make_bench()
print(type(bench.enter("0fa2 0f05")).__name__)
bench.processor.close()
"""


@pytest.mark.parametrize(("most", "outcome"), [(64, "SystemCall"), (10, "Too many open files")])
def test_few_descriptors_are_enough_and_too_few_are_told(most: int, outcome: str) -> None:
    """CPUID is replaced in a copy of its page, which takes one of the stub's for good."""
    words = [sys.executable, "-c", FEW_DESCRIPTORS, str(most)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert outcome in (done.stdout + done.stderr).splitlines()[-1]


def test_a_stub_that_crashes_leaves_no_image_of_its_memory(bench: Bench) -> None:
    limits = Path(f"/proc/{stub_of(bench).pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_memory_of_the_stub_is_bounded_by_the_machines(bench: Bench) -> None:
    """Ring 3 writes all it may, and asks for more; all of it is the machine's own."""
    pid = stub_of(bench).pid
    ended = bench.run("f3aa 0f05", rdi=DATA, rcx=STACK_END - DATA, rax=0x55)  # rep stosb; syscall
    assert isinstance(ended, SystemCall)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    in_kib = {name: int(status[name].split()[0]) for name in ("VmSize", "RssAnon", "RssShmem", "VmLck", "VmSwap")}
    machine = sum(bank.size for bank in bench.memory.banks if bank.backing is not None) // 1024
    assert in_kib["RssShmem"] >= (STACK_END - DATA) // 1024
    assert in_kib["VmSize"] <= machine + 1024
    assert in_kib["RssAnon"] <= 64
    for number in (9, 12, 25, 319):  # mmap, brk, mremap, memfd_create
        call = bench.run("0f05", rax=number, rsi=1 << 30, rdx=7)
        assert isinstance(call, SystemCall)
        assert call.number == number
    assert f"VmSize:{status['VmSize']}" in Path(f"/proc/{pid}/status").read_text()


# Two at once, and code that moves to a stub with the timestamp trapped


def test_two_processors_share_the_memory(bench: Bench) -> None:
    other = NativeProcessor(bench.memory, ProcessorOptions({}, budget=0))
    bench.put("48c7042500401000 2a000000 0f05")  # mov qword [DATA], 42; syscall
    assert isinstance(bench.go(CODE), SystemCall)
    bench.put("488b042500401000 0f05", CODE + PAGE_SIZE)  # mov rax, [DATA]; syscall
    call = other.enter(Entry(CODE + PAGE_SIZE, STACK_END - 0x18))
    other.close()
    assert isinstance(call, SystemCall)
    assert call.number == 42


def test_code_that_may_read_the_timestamp_moves_to_another_stub(bench: Bench) -> None:
    # movd xmm0, ecx; syscall; then a jump to a page that ring 3 writes: movd edx, xmm0; syscall
    bench.memory.write(WRITABLE_CODE, bytes.fromhex("660f7ec2 0f05"))
    bench.run("660f6ec1 0f05 41ffe7", rcx=9, r15=WRITABLE_CODE)
    assert not stub_of(bench).traps_timestamps
    call = bench.processor.resume()
    assert stub_of(bench).traps_timestamps
    assert isinstance(call, SystemCall)
    assert call.arguments[0] == 9


def test_pages_change_while_a_call_is_pending_many_times(bench: Bench) -> None:
    bench.enter("0f05 ebfc")
    for number in range(200):
        bench.memory.assign(DATA + number % 16 * PAGE_SIZE, PAGE_SIZE, RW)
        assert isinstance(bench.processor.resume(number), SystemCall)
