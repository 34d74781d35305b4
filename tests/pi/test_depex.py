"""Dependency expressions: real ones, the evaluator against a plain model, everything that is malformed."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.depex import (
    FALSE,
    TRUE,
    And,
    Constant,
    Depex,
    DepexSyntaxError,
    Expression,
    Not,
    Or,
    Order,
    Push,
    Reason,
    all_of,
    can_be_true,
    can_be_true_without,
    encode,
    encode_after,
    encode_before,
    evaluate,
    evaluation,
    parse_depex,
    parse_expression,
    read_by_specification,
    required_guids,
)
from mmsupervisor.pi.depex.evaluation import MAX_REPEATED
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.guid import Guid, GuidSyntaxError
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.reader import Reader
from tests.pi.firmware_parts import DXE_DEPEX, IMAGES, MM_DEPEX, PEI_DEPEX, X64_IMAGE, parts
from tests.pi.oracles.mm_modules import depex_operations, mm_modules

READY = known_guid("gMmRing3HandlerReadyProtocol")
CPU = known_guid("gEfiMmCpuProtocolGuid")
PCD = known_guid("gEfiPcdProtocolGuid")
RUNTIME = known_guid("gEfiRuntimeArchProtocolGuid")
DEPEX_SECTIONS = (DXE_DEPEX, PEI_DEPEX, MM_DEPEX)


def parse(data: bytes) -> Depex:
    return parse_depex(Reader(data, "depex"))


def of(text: str) -> Depex:
    return parse(encode(parse_expression(text)))


def nothing(guid: Guid) -> bool:
    return False


def everything(guid: Guid) -> bool:
    return True


# --- real firmware -------------------------------------------------------------------------------------------------


def operations(depex: Depex) -> tuple[str, ...]:
    """As the oracle has them: a pushed GUID stands for itself."""
    words = (one.name if one.guid is None else f"{one.name} {str(one.guid).lower()}" for one in depex.instructions)
    return tuple(word.removeprefix("PUSH ") for word in words)


@pytest.mark.parametrize("name", IMAGES)
def test_expressions_of_real_firmware(ovmf, name):
    found = [part for part in parts(name) if part.section_type in DEPEX_SECTIONS]
    assert len(found) > 50
    of_drivers = [module for module in mm_modules(ovmf.path(name)) if module.depex]
    assert sum(part.section_type == MM_DEPEX for part in found) == len(of_drivers)
    assert len(of_drivers) == 7 or not ovmf.known_release(name)
    for part in found:
        depex = parse(part.data)
        assert depex.flaws == ()
        assert operations(depex) == depex_operations(part.data)
        assert encode(parse_expression(depex.infix)).count(b"\x02") >= len(depex.pushed)
        if depex.order is None:
            assert evaluate(depex, everything).reason is Reason.END
            assert set(required_guids(depex)) <= set(depex.pushed)


def test_an_smm_driver_of_real_firmware_needs_what_is_known_of_it(ovmf):
    module = next(module for module in mm_modules(ovmf.path(X64_IMAGE)) if module.name == "SmmFaultTolerantWriteDxe")
    (data,) = {
        part.data for part in parts(X64_IMAGE) if part.file_guid == module.guid and part.section_type == MM_DEPEX
    }
    depex = parse(data)
    assert tuple(str(guid).lower() for guid in depex.pushed) == module.pushed
    assert ovmf.known_release(X64_IMAGE) is None or [guid.name for guid in required_guids(depex)] == [
        "gEfiSmmFirmwareVolumeBlockProtocolGuid",
        "gEfiRuntimeArchProtocolGuid",
        "gEfiPcdProtocolGuid",
        "gEfiMmBaseProtocolGuid",
        "gEfiMmAccessProtocolGuid",
        "gEfiDevicePathUtilitiesProtocolGuid",
    ]
    assert data == encode(all_of(*depex.pushed))
    assert can_be_true_without(depex, READY)


# --- building ------------------------------------------------------------------------------------------------------


def test_the_bytes_of_the_fact_sheet():
    ready = bytes.fromhex("080E92D5AB1CAD4AB47C8F83290B31CB")
    assert encode(all_of(READY)) == b"\x02" + ready + b"\x08"
    assert encode(TRUE) == encode(all_of()) == b"\x06\x08"
    assert encode(all_of(CPU, PCD, READY)) == b"\x02" + CPU.raw + b"\x02" + PCD.raw + b"\x02" + ready + b"\x03\x03\x08"
    assert encode_before(CPU) == b"\x00" + CPU.raw + b"\x08"
    assert encode_after(CPU) == b"\x01" + CPU.raw + b"\x08"
    assert encode(FALSE, schedule_on_request=True) == b"\x09\x07\x08"
    assert encode(Push(CPU) | ~Push(PCD) & TRUE) == b"\2" + CPU.raw + b"\2" + PCD.raw + b"\5\6\3\4\x08"


def test_text_form():
    text = "gEfiMmCpuProtocolGuid OR not (gEfiPcdProtocolGuid and TRUE) AND FALSE"
    assert parse_expression(text) == Or(Push(CPU), And(Not(And(Push(PCD), TRUE)), FALSE))
    assert parse_expression("NOT NOT TRUE") == Not(Not(TRUE))
    assert parse_expression(f"{{{CPU}}}") == Push(CPU)
    assert parse_expression("TRUE AND TRUE AND FALSE") == And(And(TRUE, TRUE), FALSE)


@pytest.mark.parametrize(
    "text", ["", "AND", "TRUE AND", "TRUE TRUE", "(TRUE", "TRUE)", "()", "NOT", "TRUE ; FALSE", "TRUE (FALSE)"]
)
def test_text_that_is_no_expression(text):
    with pytest.raises(DepexSyntaxError):
        parse_expression(text)


def test_text_with_an_unknown_name():
    with pytest.raises(GuidSyntaxError):
        parse_expression("TRUE AND gNoSuchGuid")


# --- printing ------------------------------------------------------------------------------------------------------


def test_printed_forms():
    depex = of("(gEfiMmCpuProtocolGuid OR gEfiPcdProtocolGuid) AND NOT (TRUE AND FALSE)")
    assert depex.infix == "(gEfiMmCpuProtocolGuid OR gEfiPcdProtocolGuid) AND NOT (TRUE AND FALSE)"
    assert depex.postfix == "PUSH gEfiMmCpuProtocolGuid; PUSH gEfiPcdProtocolGuid; OR; TRUE; FALSE; AND; NOT; AND; END"
    assert parse(encode_before(CPU)).infix == "BEFORE gEfiMmCpuProtocolGuid"
    assert parse(encode_after(CPU)).infix == "AFTER gEfiMmCpuProtocolGuid"
    assert parse(encode(TRUE, schedule_on_request=True)).infix == "SOR TRUE"
    unknown = Guid(bytes(range(16)))
    assert parse(encode(Push(unknown))).infix == str(unknown)
    assert parse(b"\x03\x08").infix == "AND; END"
    assert str(parse(b"\x0a")) == "opcode 0x0a"


def test_order():
    assert parse(encode_before(CPU)).order == Order(True, CPU)
    assert parse(encode_after(PCD)).order == Order(False, PCD)
    assert parse(encode(TRUE)).order is None


# --- the MM core's reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value", "reason"),
    [
        (b"\x06\x08", True, Reason.END),
        (b"\x07\x08", False, Reason.END),
        (b"\x06\x08rest", True, Reason.END),
        (b"\x07\x06\x08", True, Reason.END),  # the top of the stack counts
        (b"\x06", False, Reason.PAST_END),
        (b"", False, Reason.PAST_END),
        (b"\x08", False, Reason.STACK_EMPTY),
        (b"\x05\x08", False, Reason.STACK_EMPTY),
        (b"\x06\x03\x08", False, Reason.STACK_EMPTY),
        (b"\x06\x04\x08", False, Reason.STACK_EMPTY),
        (b"\x09\x06\x08", False, Reason.SCHEDULE_ON_REQUEST),
        (b"\x06\x0a\x08", False, Reason.UNKNOWN_OPCODE),
        (b"\x06\xff\x08", False, Reason.UNKNOWN_OPCODE),
        (b"\x02" + CPU.raw[:15], False, Reason.CUT),
        (b"\x00" + CPU.raw + b"\x08", False, Reason.ORDERED),
        (b"\x01" + CPU.raw[:3], False, Reason.ORDERED),
        (b"\x06\x00" + CPU.raw + b"\x03\x08", True, Reason.END),  # not first: taken as PUSH
    ],
)
def test_reading_of_the_mm_core(data, value, reason):
    verdict = evaluate(parse(data), everything)
    assert (verdict.value, verdict.reason) == (value, reason)


def test_a_misplaced_before_is_reported():
    verdict = evaluate(parse(b"\x06\x01" + CPU.raw + b"\x03\x08"), nothing)
    assert verdict.misplaced == (1,)
    assert not verdict.value


def test_each_push_is_looked_up_each_time():
    asked: list[Guid] = []
    depex = of("gEfiMmCpuProtocolGuid AND gEfiPcdProtocolGuid AND gEfiMmCpuProtocolGuid")
    evaluate(depex, lambda guid: asked.append(guid) or True)
    assert asked == [CPU, PCD, CPU]


# --- the specification's reading -----------------------------------------------------------------------------------


def test_schedule_on_request_differs():
    depex = parse(encode(TRUE, schedule_on_request=True))
    reading = read_by_specification(depex, nothing)
    assert reading.value
    assert reading.schedule_on_request
    assert not evaluate(depex, nothing).value


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"", "empty"),
        (b"\x06", "no END"),
        (b"\x06\x08\x00", "1 bytes follow the end"),
        (b"\x06\x06\x08", "END at 0x2 finds 2 values"),
        (b"\x08", "END at 0x0 finds 0 values"),
        (b"\x06\x03\x08", "AND at 0x1 finds 1 values"),
        (b"\x05\x08", "NOT at 0x0 finds 0 values"),
        (b"\x06\x09\x08", "SOR at 0x1 is not the first opcode"),
        (b"\x06\x00" + CPU.raw + b"\x08", "BEFORE at 0x1 is not the first opcode"),
        (b"\x00" + CPU.raw + b"\x06\x08", "BEFORE is not followed by END at once"),
        (b"\x06\x0c", "opcode 0x0c at 0x1 is not defined"),
        (b"\x02" + CPU.raw[:4], "ends within the operand of PUSH at 0x0"),
    ],
)
def test_flaws_are_named_and_leave_no_reading(data, flaw):
    depex = parse(data)
    assert any(flaw in text for text in depex.flaws), depex.flaws
    assert read_by_specification(depex, everything).value is None


# --- questions about an expression ---------------------------------------------------------------------------------


def test_check_c4():
    assert not can_be_true_without(parse(encode(all_of(CPU, READY))), READY)
    assert can_be_true_without(parse(encode(all_of(CPU, PCD))), READY)
    assert can_be_true_without(parse(encode(TRUE)), READY)
    assert can_be_true_without(of("gMmRing3HandlerReadyProtocol OR gEfiMmCpuProtocolGuid"), READY)
    assert can_be_true_without(of("NOT gMmRing3HandlerReadyProtocol"), READY)
    assert not can_be_true_without(of("gMmRing3HandlerReadyProtocol AND NOT gEfiMmCpuProtocolGuid"), READY)
    assert not can_be_true_without(parse(encode(TRUE, schedule_on_request=True)), READY)
    assert not can_be_true_without(parse(encode_before(CPU)), READY)


def test_required():
    assert required_guids(of("gEfiMmCpuProtocolGuid AND (gEfiPcdProtocolGuid OR TRUE)")) == (CPU,)
    assert required_guids(of("gEfiMmCpuProtocolGuid AND FALSE")) == ()
    assert required_guids(of("gEfiMmCpuProtocolGuid AND NOT gEfiPcdProtocolGuid")) == (CPU,)


def test_many_protocols_with_not_are_judged_by_structure():
    many = [Push(Guid(bytes([index]) * 16)) for index in range(1, 40)]
    expression: Expression = Push(READY) & ~many[0]
    for push in many[1:]:
        expression = expression & push
    depex = parse(encode(expression))
    assert not can_be_true_without(depex, READY)
    assert can_be_true(depex)
    assert can_be_true_without(depex, many[0].guid)
    assert not can_be_true_without(depex, many[1].guid)


def contradictions(count: int) -> Depex:
    """So many protocols, and for each that it is there and is not, joined by OR."""
    one_each = (bytes([2, *[index] * 16, 2, *[index] * 16, 5, 3]) for index in range(1, count + 1))
    return parse(b"".join(one_each) + b"\x04" * (count - 1) + b"\x08")


def test_all_combinations_are_tried_in_one_pass(monkeypatch):
    """An expression of a few bytes must not take minutes, however many combinations there are."""
    steps = []
    step = evaluation._step
    monkeypatch.setattr(evaluation, "_step", lambda *arguments: steps.append(1) or step(*arguments))
    for count in (1, 2, MAX_REPEATED, MAX_REPEATED + 1):
        depex = contradictions(count)
        steps.clear()
        assert can_be_true(depex) is (count > MAX_REPEATED), "exact up to the bound, by structure beyond"
        assert len(steps) == len(depex.instructions)


GUIDS = [Guid(bytes([index]) * 16) for index in range(1, 5)]
expressions = st.recursive(
    st.sampled_from(GUIDS).map(Push) | st.booleans().map(Constant),
    lambda inner: st.builds(Not, inner) | st.builds(And, inner, inner) | st.builds(Or, inner, inner),
    max_leaves=12,
)


def model(expression: Expression, installed: frozenset[Guid]) -> bool:
    match expression:
        case Push(guid):
            return guid in installed
        case Constant(value):
            return value
        case Not(operand):
            return not model(operand, installed)
        case And(left, right):
            return model(left, installed) and model(right, installed)
        case Or(left, right):
            return model(left, installed) or model(right, installed)
    raise AssertionError(expression)


def worlds():
    for bits in product((False, True), repeat=len(GUIDS)):
        yield frozenset(guid for guid, bit in zip(GUIDS, bits, strict=True) if bit)


@given(expressions)
def test_evaluation_and_questions_agree_with_a_model(expression):
    depex = parse(encode(expression))
    assert depex.flaws == ()
    for world in worlds():
        expected = model(expression, world)
        assert evaluate(depex, world.__contains__).value is expected
        assert read_by_specification(depex, world.__contains__).value is expected
    assert can_be_true(depex) is any(model(expression, world) for world in worlds())
    for guid in GUIDS:
        expected = any(model(expression, world) for world in worlds() if guid not in world)
        assert can_be_true_without(depex, guid) is expected


@given(expressions)
def test_printed_text_reads_back_to_the_same_meaning(expression):
    depex = parse(encode(expression))
    again = parse_expression(depex.infix)
    assert all(model(again, world) is model(expression, world) for world in worlds())
    assert [line.split()[0] for line in depex.postfix.split("; ")] == [step.name for step in depex.instructions]


@given(st.binary(max_size=80))
def test_random_bytes_give_a_result_everywhere(data):
    depex = parse(data)
    verdict = evaluate(depex, everything)
    assert verdict.reason is Reason.END or not verdict.value
    read_by_specification(depex, everything)
    can_be_true(depex)
    assert depex.infix is not None
    assert sum(17 if step.guid else 1 for step in depex.instructions) + len(depex.trailing) <= len(data)


def test_length_is_bounded_and_deep_expressions_do_not_recurse():
    with pytest.raises(LimitError):
        parse_depex(Reader(b"\x06" * 11, "depex"), Allowance(Limits(items=10)))
    deep = parse(b"\x06" * 50_000 + b"\x03" * 49_999 + b"\x08")
    assert evaluate(deep, nothing).value
    assert deep.flaws == ()
    assert deep.infix == deep.postfix
    expression: Expression = TRUE
    for _ in range(50_000):
        expression = ~expression
    assert evaluate(parse(encode(expression)), nothing).value
