"""From observations to rules: nothing more than was seen, everything that was, and whose it is where that cannot be."""

from __future__ import annotations

from random import Random

import pytest

from mmsupervisor.core.findings import Place
from mmsupervisor.learn.denials import would_be_denied
from mmsupervisor.learn.observation import Observation
from mmsupervisor.learn.rules import KINDS, Lesson, learn, policy_of
from mmsupervisor.learn.source import reason, to_source
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import WIDTH_SIZES
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.levels import judge
from mmsupervisor.policy.model import AccessAttr, Attribute, Instruction, RootType
from mmsupervisor.policy.questions import (
    InstructionQuestion,
    MsrQuestion,
    PolicyQuestion,
    PortQuestion,
    SaveStateQuestion,
)
from mmsupervisor.policy.save_state import IoTrap, IoType
from mmsupervisor.policy.toml_source import read_toml_policy
from mmsupervisor.policy.toml_writer import write_toml

READ, WRITE = Attribute.READ, Attribute.WRITE
RAX, RBX, IO, PROCESSOR_ID = 38, 39, 512, 514
BYTE_OUT, WORD_OUT, BYTE_IN = IoTrap(IoType.OUTPUT, 0), IoTrap(IoType.OUTPUT, 1), IoTrap(IoType.INPUT, 0)
AMD = Vendor.AMD


def seen(*questions: PolicyQuestion, driver: str = "Driver", count: int = 1) -> list[Observation]:
    """One observation of each, at places of their own."""
    return [
        Observation(question, Place(driver, 0x1000 + number, number, f"Function{number}"), "launched", count)
        for number, question in enumerate(questions)
    ]


def allowed_ports(lesson: Lesson) -> set[PortQuestion]:
    gate = CompiledPolicy(lesson.policy)
    return {
        PortQuestion(port, width, access)
        for width in WIDTH_SIZES
        for access in (READ, WRITE)
        for port in range(0x10000 - WIDTH_SIZES[width] + 1)
        if gate.io(port, width, access).allowed
    }


def random_observations(random: Random) -> list[Observation]:
    ports = [
        PortQuestion(random.choice((0x70, 0xCF8, 0xFFF8)) + random.randrange(5), random.randrange(3), access)
        for access in random.choices((READ, WRITE), k=12)
    ]
    msrs = [MsrQuestion(random.choice((0, 0x10, 0xC0000080, 0xFFFFFFF0)) + random.randrange(8), WRITE) for _ in "abcd"]
    gated = [InstructionQuestion(one) for one in Instruction if random.random() < 0.5]
    traps = (BYTE_OUT, WORD_OUT, BYTE_IN, Status.NOT_FOUND)
    reads = [
        SaveStateQuestion(random.choice((RAX, RBX, IO, PROCESSOR_ID)), random.choice((1, 2, 8, 24)), trap)
        for trap in random.choices(traps, k=random.randrange(4))
    ]
    return seen(*dict.fromkeys((*ports, *msrs, *gated, *reads)))


def test_nothing_seen_nothing_allowed():
    lesson = learn([], AMD)
    roots = {root.type: root for root in lesson.policy.roots}
    assert [roots[kind].access_attr for kind in KINDS] == [AccessAttr.ALLOW] * 4
    assert not any(roots[kind].entries for kind in KINDS)
    assert judge(lesson.policy, AMD).reaches(30)
    assert judge(lesson.policy, Vendor.INTEL).reaches(30)


def test_ports_are_opened_at_that_width_and_direction_only():
    wanted = {PortQuestion(0x70, 0, WRITE), PortQuestion(0x71, 0, READ), PortQuestion(0x70, 1, READ)}
    lesson = learn(seen(*wanted), AMD)
    assert allowed_ports(lesson) == wanted
    assert security_policy_check(lesson.policy) is None
    assert not lesson.refusals


def test_one_rule_for_both_directions():
    lesson = learn(seen(PortQuestion(0x70, 0, WRITE), PortQuestion(0x70, 0, READ), MsrQuestion(0x10, READ)), AMD)
    port, msr = lesson.rules
    assert (port.count, len(port.observations), msr.count) == (2, 2, 1)


@pytest.mark.parametrize("seed", range(20))
def test_any_observations(seed: int):
    """The policy is sound, lets all but the refused, and without any one rule denies what that rule is there for."""
    observations = random_observations(Random(seed))
    for level in (0, 10, 20, 30):
        lesson = learn(observations, AMD, level)
        assert security_policy_check(lesson.policy) is None
        assert judge(lesson.policy, AMD).reaches(level)
        denied = {one.observation for one in would_be_denied(observations, lesson.policy)}
        refused = {one for refusal in lesson.refusals for one in refusal.observations}
        assert denied == refused, level
        for rule in lesson.rules:
            rest = policy_of(one.entry for one in lesson.rules if one is not rule)
            without = {one.observation for one in would_be_denied(observations, rest)}
            assert without - denied == set(rule.observations) - denied
            assert rule.observations, "a rule that nobody needs"
            if level == 0:  # nothing breaks it, so no rule is held back that another one depends on
                assert without - denied == set(rule.observations)
        back = read_toml_policy(write_toml(to_source(lesson, "t")).encode())
        assert back.policy.roots == lesson.policy.roots


def test_a_port_that_the_level_closes_is_refused_with_its_owner():
    data = seen(PortQuestion(0xCF8, 2, WRITE), driver="Pci", count=3)
    clock = seen(PortQuestion(0x70, 0, WRITE), driver="Clock")
    lesson = learn([*clock, *data], AMD, 30)
    (refusal,) = lesson.refusals
    assert (refusal.drivers, refusal.observations) == (("Pci",), tuple(data))
    assert "port 0xcf8 (CONFIG_ADDRESS)" in refusal.why
    assert "it holds the policy at 10" in refusal.why
    assert [rule.observations for rule in lesson.rules] == [tuple(clock)]
    assert not learn([*clock, *data], AMD, 10).refusals


def test_an_msr_of_the_other_vendor_is_no_reason_to_refuse():
    observations = seen(MsrQuestion(0x600, READ))
    assert not learn(observations, AMD, 30).refusals
    assert "0x600" in learn(observations, Vendor.INTEL, 30).refusals[0].why


@pytest.mark.parametrize(
    ("questions", "level", "forms"),
    [
        ([SaveStateQuestion(IO, 24, BYTE_OUT)], 30, [("RAX", 0x10, 2), ("IO_TRAP", 1, 0)]),
        ([SaveStateQuestion(IO, 24, BYTE_OUT)], 20, [("RAX", 0x10, 2), ("IO_TRAP", 0x10, 2)]),
        ([SaveStateQuestion(IO, 24, Status.NOT_FOUND)], 30, [("IO_TRAP", 1, 0)]),
        ([SaveStateQuestion(RAX, 1, WORD_OUT)], 20, [("RAX", 0x10, 2)]),
        ([SaveStateQuestion(PROCESSOR_ID, 8, Status.NOT_FOUND)], 20, []),
        ([SaveStateQuestion(IO, 24, BYTE_IN)], 20, [("RAX", 1, 0), ("IO_TRAP", 1, 0)]),
    ],
)
def test_the_narrowest_rules_for_the_save_state(questions, level, forms):
    lesson = learn(seen(*questions), AMD, level)
    found = [(rule.entry.map_field, rule.entry.attributes, rule.entry.access_condition) for rule in lesson.rules]
    assert found == [({"RAX": 0, "IO_TRAP": 1}[name], bits, condition) for name, bits, condition in forms]
    assert not lesson.refusals


def test_an_input_trap_needs_an_open_rax_which_level_30_forbids():
    lesson = learn(seen(SaveStateQuestion(IO, 24, BYTE_IN), driver="Trap"), AMD, 30)
    assert [refusal.drivers for refusal in lesson.refusals] == [("Trap",)]
    assert "it holds the policy at 20" in lesson.refusals[0].why
    assert lesson.rules == (), "IO_TRAP alone lets nothing of it"


def test_a_rule_counts_only_what_it_lets():
    """Reading the trap information of an input needs RAX, which level 30 refuses; of an output it does not."""
    lesson = learn(seen(SaveStateQuestion(IO, 24, BYTE_IN), SaveStateQuestion(IO, 24, Status.NOT_FOUND)), AMD, 30)
    assert [(rule.entry.map_field, rule.count) for rule in lesson.rules] == [(1, 1)]
    assert [refusal.observations[0].question.io for refusal in lesson.refusals] == [BYTE_IN]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (SaveStateQuestion(RBX, 8, BYTE_OUT), "a policy cannot name that register"),
        (SaveStateQuestion(RAX, 1, BYTE_OUT), "the read is wider than the entry allows"),
        (SaveStateQuestion(RAX, 8, Status.NOT_FOUND), "the I/O trap information of that CPU cannot be read"),
        (MsrQuestion(0xFFFF_FFFF, READ), "no entry covers the access"),
    ],
)
def test_what_no_allow_list_can_let_is_refused(question, why):
    lesson = learn(seen(question, driver="Curious"), AMD, 0)
    assert [refusal.drivers for refusal in lesson.refusals] == [("Curious",)]
    assert "no allow list can let it" in lesson.refusals[0].why
    assert "isolation-policy.md" in lesson.refusals[0].why
    assert lesson.rules == ()


def test_provenance_of_a_rule():
    observations = [
        *seen(*[PortQuestion(0x70, 0, READ)] * 6, driver="Clock", count=2),
        Observation(PortQuestion(0x70, 0, READ), Place("", 0x5000), "after ready-to-boot", 1),
    ]
    lesson = learn(observations, AMD)
    said = "Clock: Function0, Function1, Function2, Function3 and 2 more: launched: 12 times"
    assert reason(observations) == f"{said}; code in no image: 0x5000: after ready-to-boot: once"
    source = to_source(lesson, "Learned from x")
    assert source.note_of(0, 0).reason == reason(observations)
    assert [source.notes_of(number).note.reason for number in range(5)] == ["", *["nothing was observed"] * 3, ""]


def test_kinds_stand_in_one_order():
    questions = (InstructionQuestion(Instruction.HLT), MsrQuestion(1, READ), PortQuestion(1, 0, READ))
    assert [rule.entry.KIND for rule in learn(seen(*questions), AMD).rules] == [
        RootType.IO,
        RootType.MSR,
        RootType.INSTRUCTION,
    ]
