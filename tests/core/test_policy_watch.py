"""What a run can be given beside its policy: the source's places, and a witness of every question and its answer."""

from __future__ import annotations

import pytest

from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.policy_watch import PolicyWatch
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.policy.blob import assemble, read_blob_as_runtime, write_blob
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import AccessAttr, IoEntry, Place, Policy, PolicyRoot, RootType
from mmsupervisor.policy.questions import PolicyQuestion
from mmsupervisor.session import boot
from tests.learn.exercises import READ_PORT, WRITE_PORT, io_msr


def policy(port: int) -> Policy:
    entry = IoEntry(port, 1, 1, place=Place("source.toml", line=7))
    return assemble([PolicyRoot(RootType.IO, AccessAttr.DENY, (entry,))], file="source.toml")


def test_the_source_names_its_own_blob_and_no_other() -> None:
    source, other = policy(0x70), policy(0x71)
    named = PolicyWatch(source).named(read_blob_as_runtime(write_blob(source)))
    assert str(named.roots[0].entries[0].place) == "source.toml:7"
    assert named.file == "source.toml"
    foreign = read_blob_as_runtime(write_blob(other))
    assert PolicyWatch(source).named(foreign) is foreign
    assert PolicyWatch().named(foreign) is foreign


def test_a_witness_sees_allowed_and_denied() -> None:
    seen: list[tuple[str, bool, str]] = []

    def witness(question: PolicyQuestion, decision: Decision, supervisor: Supervisor) -> None:
        seen.append((str(question), decision.allowed, supervisor.place.driver))

    with boot(policy=policy(0x70), policy_witness=witness) as session:
        io_msr(session, WRITE_PORT, 0, 0x70, 0)
        assert session.stop is None
        with pytest.raises(SystemStopError, match="MM-1001"):
            io_msr(session, READ_PORT, 0, 0x70, 0)
    assert seen == [
        ("write 1 byte at port 0x70", True, "IoMsr"),
        ("read 1 byte at port 0x70", False, "IoMsr"),
    ]
