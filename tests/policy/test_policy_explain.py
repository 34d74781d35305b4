"""Questions in words: what is understood, what is answered, and what is said to the rest."""

from __future__ import annotations

import pytest

from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.explain import QuestionError, explain
from mmsupervisor.policy.model import IoEntry, PolicyRoot, RootType

AMD = shipped.policy("amd").policy


@pytest.mark.parametrize(
    ("question", "wording", "allowed", "steps"),
    [
        ("write 1 byte to port 0xCFC", "write 1 byte to port 0xcfc", False, 2),
        ("WRITE  4 Bytes  port 3320", "write 4 bytes to port 0xcf8", False, 1),
        ("write 1 byte at port 0xCF9", "write 1 byte to port 0xcf9", True, 2),
        ("read 2 bytes from port 0xcfc", "read 2 bytes from port 0xcfc", True, 2),
        ("read msr 0xC0000082", "read MSR 0xc0000082", False, 2),
        ("write to MSR 16", "write MSR 0x10", True, 13),
        ("execute hlt", "execute HLT", True, 3),
        ("CLI", "execute CLI", True, 1),
        (
            "read 1 byte of RAX of the save state on output of 2 bytes",
            "read 1 byte of RAX of the save state on output of 2 bytes",
            True,
            1,
        ),
        (
            "read 24 bytes of io of save state on input of 1 byte",
            "read 24 bytes of IO of the save state on input of 1 byte",
            False,
            2,
        ),
        (
            "read 8 bytes of other of the save state without port access",
            "read 8 bytes of OTHER of the save state without port access",
            False,
            0,
        ),
        (
            "write 8 bytes of rax of the save state without a port access",
            "write 8 bytes of RAX of the save state without port access",
            False,
            0,
        ),
    ],
)
def test_answers(question: str, wording: str, allowed: bool, steps: int) -> None:
    answer = explain(AMD, question)
    assert (answer.question, answer.decision.allowed, len(answer.walk)) == (wording, allowed, steps)
    if answer.walk and answer.decision.index is not None:
        assert answer.walk[-1].covers
        assert answer.walk[-1].entry is answer.decision.entry


def test_each_step_says_why() -> None:
    entries = (
        IoEntry(0x70, 1, 0xB),
        IoEntry(0x71, 1, 0xB),
        IoEntry(0x72, 1, 2),
        IoEntry(0x71, 2, 1),
        IoEntry(0x80, 1, 2),
        IoEntry(0x70, 1, 2),
    )
    policy = assemble([PolicyRoot(RootType.IO, 0, entries)])
    answer = explain(policy, "write 4 bytes to port 0x70")
    assert [step.why for step in answer.walk] == [
        "strict, and another width",
        "strict, and another port",
        "lies inside the access, which therefore neither begins nor ends in it",
        "lies inside the access, which therefore neither begins nor ends in it",
        "the access neither begins nor ends in it",
        "covers the access and names WRITE; the walk ends",
    ]
    assert str(answer.walk[0]) == ("entry 0 IO 0x70, length 0x1, READ|WRITE|STRICT_WIDTH: strict, and another width")
    assert explain(policy, "read 1 byte from port 0x80").walk[-1].why == (
        "covers the access and does not name READ; the walk ends"
    )


def test_no_root_means_no_walk() -> None:
    answer = explain(assemble([]), "write 1 byte to port 1")
    assert (answer.walk, answer.decision.allowed) == ((), False)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("", "is no access; write for example"),
        ("write to port 1", "`write 1 byte to port 0xCFC`"),
        ("write 3 bytes to port 1", "no port access has 3 bytes; there are 1, 2 and 4"),
        ("write 1 byte to port 0xZ", "is no access"),
        ("read msr", "`read msr 0xC0000080`"),
        ("read msr 0x100000000", "is beyond 0xffffffff"),
        ("execute rdmsr", "is no access"),
        ("read rax of the save state", "`read 1 byte of rax of the save state on output of 2 bytes`"),
        ("read 1 byte of foo of the save state without port access", "no register `foo`"),
        ("read 1 byte of rax of the save state on output of 3 bytes", "no port access has 3 bytes"),
    ],
)
def test_what_is_not_understood(question: str, words: str) -> None:
    with pytest.raises(QuestionError) as caught:
        explain(AMD, question)
    assert words in str(caught.value)
