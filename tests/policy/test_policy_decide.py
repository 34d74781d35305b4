"""Plain decisions: the reference's own test cases, the sheet's worked cases, and each surprise with its number."""

import struct

import pytest

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble, read_blob, read_blob_as_runtime, write_blob
from mmsupervisor.policy.decide import decide_instruction, decide_io, decide_msr
from mmsupervisor.policy.decision import Reason
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Instruction,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Policy,
    PolicyBoundsError,
    PolicyRoot,
    RootType,
)
from mmsupervisor.policy.surprises import Surprise
from tests.policy.policy_vectors import EMPTY, EXAMPLE

ALLOW, DENY = AccessAttr.ALLOW, AccessAttr.DENY
READ, WRITE, EXECUTE, STRICT = Attribute.READ, Attribute.WRITE, Attribute.EXECUTE, Attribute.STRICT_WIDTH
OK, DENIED, INVALID = Status.SUCCESS, Status.ACCESS_DENIED, Status.INVALID_PARAMETER
W8, W16, W32 = 0, 1, 2


def policy_of(kind: RootType, attr: int, *entries) -> Policy:
    return assemble([PolicyRoot(kind, attr, tuple(entries))])


def io_policy(attr: int, *entries: tuple[int, int, int]) -> Policy:
    return policy_of(RootType.IO, attr, *(IoEntry(*entry) for entry in entries))


def msr_policy(attr: int, *entries: tuple[int, int, int]) -> Policy:
    return policy_of(RootType.MSR, attr, *(MsrEntry(*entry) for entry in entries))


# ----------------------------------------------------- reference-tests.md §1, the seven cases of SmmPolicyGateLib


def reference_blob(kind: RootType, attr: int, descriptor: bytes) -> Policy:
    """One root, its descriptor directly behind it at 0x40, as the reference's tests lay it out."""
    header = struct.pack("<HHIIIIIQII", 0, 1, 0x40 + len(descriptor), 0, 0, 0, 0, 0, 0x28, 1)
    root = struct.pack("<IIIIIB3x", 1, 0x18, kind, 0x40, 1, attr)
    return read_blob(header + root + descriptor)


@pytest.mark.parametrize(("attr", "named", "other"), [(ALLOW, OK, DENIED), (DENY, DENIED, OK)])
def test_reference_io_lists(attr, named, other):
    policy = reference_blob(RootType.IO, attr, struct.pack("<HHHH", 0x72, 1, READ, 0))
    assert decide_io(policy, 0x72, W8, READ).status == named
    assert decide_io(policy, 0x72, W8, WRITE).status == other
    assert decide_io(policy, 0x71, W8, READ).status == other
    assert decide_io(policy, 0x71, W8, WRITE).status == other


def test_reference_overflowing_io_requests():
    policy = reference_blob(RootType.IO, ALLOW, struct.pack("<HHHH", 0x72, 1, READ, 0))
    assert decide_io(policy, 0xFFFD, W32, READ).status == INVALID
    assert decide_io(policy, 0xFFFF, W16, READ).status == INVALID
    assert decide_io(policy, 0xFFFF, W8, READ).status == DENIED


@pytest.mark.parametrize(("attr", "named", "other"), [(ALLOW, OK, DENIED), (DENY, DENIED, OK)])
def test_reference_msr_lists(attr, named, other):
    policy = reference_blob(RootType.MSR, attr, struct.pack("<IHH", 0xC000_0080, 2, READ))
    for msr in (0xC000_0080, 0xC000_0081):
        assert decide_msr(policy, msr, READ).status == named
        assert decide_msr(policy, msr, WRITE).status == other
    assert decide_msr(policy, 0x71, READ).status == other
    assert decide_msr(policy, 0x71, WRITE).status == other


@pytest.mark.parametrize(("attr", "named", "other"), [(ALLOW, OK, DENIED), (DENY, DENIED, OK)])
def test_reference_instruction_lists(attr, named, other):
    policy = reference_blob(RootType.INSTRUCTION, attr, struct.pack("<HHI", Instruction.CLI, EXECUTE, 0))
    assert decide_instruction(policy, Instruction.CLI).status == named
    assert decide_instruction(policy, Instruction.HLT).status == other


# -------------------------------------------------------------------------------- isolation-policy.md §6


@pytest.mark.parametrize(
    ("address", "width", "mask", "status"),
    [
        (0xCF8, W32, WRITE, DENIED),
        *[(port, W8, WRITE, OK) for port in range(0xCF8, 0xCFC)],
        *[(port, W16, WRITE, OK) for port in range(0xCF8, 0xCFB)],
        (0xCF8, W32, READ, OK),
        *[(port, W8, WRITE, DENIED) for port in range(0xCFC, 0xD00)],
        *[(port, W16, WRITE, DENIED) for port in range(0xCFB, 0xD00)],
        *[(port, W32, WRITE, DENIED) for port in range(0xCF9, 0xD00)],
        (0xD00, W8, WRITE, OK),
        (0xCFC, W32, READ, OK),
    ],
)
def test_worked_cases_of_the_example(address, width, mask, status):
    assert decide_io(default_policy(), address, width, mask).status == status


@pytest.mark.parametrize(
    ("address", "width", "mask", "reason", "step"),
    [
        (0xCF8, W8, EXECUTE, Reason.BAD_MASK, 1),
        (0xCF8, W8, 0, Reason.BAD_MASK, 1),
        (0xCF8, 3, READ, Reason.BAD_WIDTH, 2),
        (0xCF8, -1, READ, Reason.BAD_WIDTH, 2),
        (0x10000, W8, READ, Reason.BAD_ADDRESS, 3),
        (0xFFFF_FFFF, W32, READ, Reason.BAD_ADDRESS, 3),
        (0xFFFF, W16, READ, Reason.BAD_RANGE, 4),
        (0xFFFD, W32, READ, Reason.BAD_RANGE, 4),
    ],
)
def test_malformed_io_requests(address, width, mask, reason, step):
    decision = decide_io(default_policy(), address, width, mask)
    assert (decision.status, decision.reason, decision.step) == (INVALID, reason, step)
    assert not decision.allowed


def test_the_order_of_the_steps():
    assert decide_io(default_policy(), 0x10000, 9, 0).reason is Reason.BAD_MASK
    assert decide_io(default_policy(), 0x10000, 9, READ).reason is Reason.BAD_WIDTH
    empty = assemble(())
    assert decide_io(empty, 0x10000, W8, READ).reason is Reason.BAD_ADDRESS
    assert decide_io(empty, 0, W8, READ).step == 5


def test_both_bits_of_the_mask_are_accepted():
    assert decide_io(default_policy(), 0xCFC, W32, READ | WRITE).status == DENIED
    assert decide_io(io_policy(ALLOW, (0x70, 1, READ)), 0x70, W8, READ | WRITE).status == OK


def test_a_denial_names_the_rule_and_its_place():
    decision = decide_io(read_blob(EXAMPLE, "plat.bin"), 0xCFC, W8, WRITE)
    assert decision.index == 1
    assert decision.entry == IoEntry(0xCFC, 4, WRITE)
    assert decision.rule == "isolation-policy.md §6 step 7"
    assert str(decision) == (
        "ACCESS_DENIED: IO deny list: an entry names the access: "
        "entry 1 IO 0xcfc, length 0x4, WRITE (plat.bin at 0xa8) [isolation-policy.md §6 step 7]"
    )


@pytest.mark.parametrize("kind", ["io", "msr", "instruction"])
def test_a_missing_root_denies(kind):
    empty = assemble(())
    decision = {
        "io": lambda: decide_io(empty, 0x80, W8, READ),
        "msr": lambda: decide_msr(empty, 0x10, READ),
        "instruction": lambda: decide_instruction(empty, Instruction.CLI),
    }[kind]()
    assert (decision.status, decision.reason, decision.root) == (DENIED, Reason.NO_ROOT, None)


@pytest.mark.parametrize("kind", ["io", "msr", "instruction"])
@pytest.mark.parametrize(("attr", "status"), [(ALLOW, DENIED), (DENY, OK)])
def test_a_missing_entry_follows_the_list(kind, attr, status):
    """The table of §15."""
    decision = {
        "io": lambda: decide_io(io_policy(attr), 0x80, W8, READ),
        "msr": lambda: decide_msr(msr_policy(attr), 0x10, READ),
        "instruction": lambda: decide_instruction(policy_of(RootType.INSTRUCTION, attr), Instruction.CLI),
    }[kind]()
    assert (decision.status, decision.reason, decision.surprises) == (status, Reason.NO_MATCH, ())


# ------------------------------------------------------------------------------------- surprises, one by one


def test_strict_entries_protect_one_width_only():
    decision = decide_io(default_policy(), 0xCF8, W8, WRITE)
    assert decision.surprises == (Surprise.STRICT_OTHER_WIDTH,)
    assert Surprise.STRICT_OTHER_WIDTH.source == "isolation-policy.md §17.4"
    assert decide_io(default_policy(), 0xCF8, W8, READ).surprises == ()  # the entry does not name reading
    assert decide_io(io_policy(ALLOW, (0xCF8, 4, STRICT | WRITE)), 0xCF8, W8, WRITE).surprises == ()


@pytest.mark.parametrize(("attr", "status"), [(ALLOW, DENIED), (DENY, OK)])
def test_the_first_match_stops_the_walk(attr, status):
    decision = decide_io(io_policy(attr, (0x70, 2, READ), (0x70, 2, WRITE)), 0x70, W8, WRITE)
    assert (decision.status, decision.reason, decision.index) == (status, Reason.NOT_NAMED, 0)
    assert decision.surprises == (Surprise.FIRST_MATCH_STOPS,)
    alone = decide_io(io_policy(attr, (0x70, 2, READ)), 0x70, W8, WRITE)
    assert (alone.status, alone.surprises) == (status, ())


def test_an_enclosing_access_is_not_covered():
    decision = decide_io(io_policy(DENY, (0xCF9, 1, READ)), 0xCF8, W32, READ)
    assert (decision.status, decision.surprises) == (OK, (Surprise.ENCLOSING_ACCESS,))
    allow = decide_io(io_policy(ALLOW, (0xCF9, 1, READ)), 0xCF8, W32, READ)
    assert (allow.status, allow.surprises) == (DENIED, ())  # a sound gate would refuse that too


@pytest.mark.parametrize(("port", "width"), [(0x72, W32), (0x6F, W32), (0x71, W16)])
def test_an_allow_entry_authorises_a_partial_overlap(port, width):
    decision = decide_io(io_policy(ALLOW, (0x72, 1, READ)), port, width, READ)
    assert (decision.status, decision.surprises) == (OK, (Surprise.PARTIAL_OVERLAP,))


@pytest.mark.parametrize("kind", ["io", "msr", "instruction"])
@pytest.mark.parametrize("attr", [2, 7, 255])
def test_another_access_attribute_allows_everything(kind, attr):
    decision = {
        "io": lambda: decide_io(io_policy(attr, (0x72, 1, READ)), 0x72, W8, READ),
        "msr": lambda: decide_msr(msr_policy(attr), 0x10, READ),
        "instruction": lambda: decide_instruction(policy_of(RootType.INSTRUCTION, attr), Instruction.CLI),
    }[kind]()
    assert (decision.status, decision.surprises) == (OK, (Surprise.ACCESS_ATTR_ILLEGAL,))
    assert f"attribute {attr:#x}" in str(decision)


def test_an_msr_range_wraps_at_32_bits():
    wrapping = msr_policy(DENY, (0xFFFF_FFF0, 0x11, READ))
    for msr in (0xFFFF_FFF0, 0xFFFF_FFFF):
        decision = decide_msr(wrapping, msr, READ)
        assert (decision.status, decision.surprises) == (OK, (Surprise.MSR_RANGE_WRAPS,))
    assert decide_msr(wrapping, 0, READ).surprises == ()
    exact = msr_policy(DENY, (0xFFFF_FFF0, 0x10, READ))  # the end is 2^32, which is 0 in 32 bits
    assert decide_msr(exact, 0xFFFF_FFFF, READ).status == OK
    assert decide_msr(msr_policy(DENY, (0xFFFF_FFF0, 0x0F, READ)), 0xFFFF_FFFE, READ).status == DENIED


def test_only_the_low_32_bits_of_an_msr_number_count():
    assert decide_msr(default_policy(), 0x1_C000_0080, READ).status == DENIED


def test_only_the_first_root_of_a_type_counts():
    roots = [
        PolicyRoot(RootType.IO, DENY, (IoEntry(0x70, 1, READ),)),
        PolicyRoot(RootType.IO, DENY, (IoEntry(0x80, 1, READ),)),
    ]
    policy = assemble(roots)
    decision = decide_io(policy, 0x80, W8, READ)
    assert (decision.status, decision.surprises) == (OK, (Surprise.FIRST_ROOT_ONLY,))
    assert decide_io(policy, 0x70, W8, READ).surprises == (Surprise.FIRST_ROOT_ONLY,)
    assert decide_io(policy, 0x90, W8, READ).surprises == ()


def test_execute_on_ports_and_msrs_means_nothing():
    assert decide_io(io_policy(DENY, (0x70, 1, EXECUTE)), 0x70, W8, READ).status == OK
    assert decide_msr(msr_policy(DENY, (0x10, 1, EXECUTE)), 0x10, WRITE).status == OK


def test_instructions_need_the_execute_bit():
    policy = policy_of(RootType.INSTRUCTION, ALLOW, InstructionEntry(0, READ), InstructionEntry(0, EXECUTE))
    decision = decide_instruction(policy, Instruction.CLI)
    assert (decision.status, decision.reason) == (DENIED, Reason.NOT_NAMED)
    assert decision.surprises == (Surprise.FIRST_MATCH_STOPS,)


@pytest.mark.parametrize("index", [3, 0xFFFF, -1])
def test_unknown_instructions_are_invalid(index):
    assert decide_instruction(default_policy(), index).status == INVALID


def test_the_example_allows_its_three_instructions():
    assert all(decide_instruction(default_policy(), index).allowed for index in Instruction)


# ------------------------------------------------------------------------- hand-made blobs, as the runtime sees them


def patched(offset: int, *values: int) -> Policy:
    blob = bytearray(EXAMPLE)
    struct.pack_into(f"<{len(values)}I", blob, offset, *values)
    return read_blob_as_runtime(bytes(blob), "hand.bin")


def test_an_aliasing_root_reads_the_other_lists_bytes():
    policy = patched(0x40 + 12, 0xA0, 2)  # the MSR root points at the ports
    decision = decide_msr(policy, 0x00040CF8, READ)
    assert decision.entry == MsrEntry(0x00040CF8, 0x0A, 0)
    assert decision.reason is Reason.NOT_NAMED


def test_a_list_that_runs_out_decides_until_it_is_passed():
    policy = patched(0x28 + 12, 0x148, 4)  # one descriptor, then the end of the blob
    inside = policy.roots[0].entries
    assert inside == (IoEntry(0, 0, 0),)
    with pytest.raises(PolicyBoundsError, match=r"hand.bin: .*4 IO descriptors at 0x148 only 1 are inside"):
        decide_io(policy, 0x80, W8, READ)
    early = patched(0x28 + 16, 0xFFFF_FFFF)
    assert decide_io(early, 0xCFC, W8, WRITE).status == DENIED  # found before the walk leaves the blob


def test_roots_that_run_out_are_an_error_only_when_the_search_gets_there():
    assert decide_io(patched(0x24, 100), 0xCFC, W8, WRITE).status == DENIED  # the first root is the one
    blob = bytearray(EMPTY)
    struct.pack_into("<I", blob, 0x24, 2)
    with pytest.raises(PolicyBoundsError, match="looking for the IO root, of 2 roots at 0x28 only 1 are inside"):
        decide_io(read_blob_as_runtime(bytes(blob)), 0x80, W8, READ)


def test_a_root_count_that_is_too_large_makes_roots_of_descriptors():
    blob = bytearray(EMPTY + struct.pack("<IIIIIB3x", 0, 0, RootType.IO, 0, 0, DENY))
    struct.pack_into("<I", blob, 0x04, len(blob))
    struct.pack_into("<I", blob, 0x24, 2)
    assert decide_io(read_blob_as_runtime(bytes(blob)), 0x80, W8, READ).reason is Reason.NO_MATCH


def test_a_later_root_that_runs_out_says_nothing():
    roots = (PolicyRoot(RootType.IO, DENY), PolicyRoot(RootType.IO, ALLOW, (), count=5))
    assert decide_io(Policy(roots, root_count=2), 0x80, W8, READ).surprises == ()


def test_decisions_agree_before_and_after_the_blob():
    policy = default_policy()
    assert decide_io(policy, 0xCFA, W32, WRITE) == decide_io(read_blob(write_blob(policy)), 0xCFA, W32, WRITE)
