"""Questions to the policy gate as values: they ask what they say, and say what reports print."""

from __future__ import annotations

import pytest

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_instruction, decide_io, decide_msr
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import Attribute, Instruction, RootType
from mmsupervisor.policy.questions import InstructionQuestion, MsrQuestion, PortQuestion, SaveStateQuestion
from mmsupervisor.policy.save_state import IoTrap, IoType, decide_save_state_read

READ, WRITE = Attribute.READ, Attribute.WRITE
POLICY = default_policy()
OUT = IoTrap(IoType.OUTPUT, 0)


@pytest.mark.parametrize(
    ("question", "text", "decision"),
    [
        (PortQuestion(0xCF8, 2, WRITE), "write 4 bytes at port 0xcf8", decide_io(POLICY, 0xCF8, 2, WRITE)),
        (PortQuestion(0xCF8, 0, READ), "read 1 byte at port 0xcf8", decide_io(POLICY, 0xCF8, 0, READ)),
        (MsrQuestion(0xC0000080, READ), "read MSR 0xc0000080", decide_msr(POLICY, 0xC0000080, READ)),
        (MsrQuestion(0x1B, WRITE), "write MSR 0x1b", decide_msr(POLICY, 0x1B, WRITE)),
        (InstructionQuestion(Instruction.HLT), "execute HLT", decide_instruction(POLICY, Instruction.HLT)),
        (
            SaveStateQuestion(512, 24, OUT),
            "read 24 bytes of save-state register 512 (IO)",
            decide_save_state_read(POLICY, 512, 24, OUT),
        ),
        (
            SaveStateQuestion(40, 8, Status.NOT_FOUND),
            "read 8 bytes of save-state register 40",
            decide_save_state_read(POLICY, 40, 8, Status.NOT_FOUND),
        ),
    ],
)
def test_a_question_asks_what_it_says(question, text, decision):
    assert str(question) == text
    assert question.ask(CompiledPolicy(POLICY)) == decision
    assert question.KIND is decision.kind


def test_questions_can_be_counted():
    assert (
        len({PortQuestion(1, 0, READ), PortQuestion(1, 0, READ), PortQuestion(1, 1, READ), MsrQuestion(1, READ)}) == 3
    )
    assert {PortQuestion.KIND, MsrQuestion.KIND, InstructionQuestion.KIND, SaveStateQuestion.KIND} == {
        RootType.IO,
        RootType.MSR,
        RootType.INSTRUCTION,
        RootType.SAVE_STATE,
    }
