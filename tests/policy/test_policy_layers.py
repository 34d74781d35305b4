"""Layers on a base: what is added, what clashes, and that the minimum holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from mmsupervisor.policy import layers, shipped
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.clashes import rules_clash
from mmsupervisor.policy.layers import LayeredPolicy, put_on
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.levels import judge
from mmsupervisor.policy.model import Entry, Extra, IoEntry, MsrEntry, Policy, PolicyRoot, RootType
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_names import default_layout
from mmsupervisor.policy.toml_source import read_toml_policy

CLOSED = """policy-form = 1
[[root]]
type = "IO"
list = "allow"
rule = [{ port = 0x70, length = 2, access = ["read", "write"], reason = "clock" }]
[[root]]
type = "MSR"
list = "allow"
[[root]]
type = "INSTRUCTION"
list = "allow"
[[root]]
type = "SAVE_STATE"
list = "allow"
"""


def layer(type_: str, list_: str, rule: str, head: str = "") -> PolicySource:
    text = f'policy-form = 1\n{head}\n[[root]]\ntype = "{type_}"\nlist = "{list_}"\nrule = [{rule}]\n'
    return read_toml_policy(text.encode(), "layer.toml")


def closed() -> PolicySource:
    return read_toml_policy(CLOSED.encode(), "base.toml")


def texts(result: LayeredPolicy) -> list[str]:
    return [str(one) for one in result.problems]


def test_rules_are_added_behind_with_their_notes() -> None:
    first = layer("IO", "allow", '{ port = 0xB2, length = 2, access = ["write"], reason = "MMI" }')
    second = layer("MSR", "deny", '{ msr = 0x1A0, access = ["write"], reason = "proprietary" }')
    result = put_on(closed(), [first], [Vendor.AMD])
    assert result.problems == result.remarks == ()
    ports = result.source.policy.roots[0].entries
    assert [str(one.place) for one in ports] == ["base.toml:5", "layer.toml:6"]
    assert [result.source.note_of(0, index).reason for index in (0, 1)] == ["clock", "MMI"]
    assert result.source.policy.roots[-1].type == RootType.MEM
    amd = put_on(shipped.policy("amd"), [second], [Vendor.AMD])
    assert amd.problems == ()
    assert len(amd.source.policy.roots[1].entries) == 14
    assert security_policy_check(amd.source.policy) is None
    assert judge(amd.source.policy, Vendor.AMD).level == 30


def test_a_list_that_the_base_lacks_is_added() -> None:
    base = read_toml_policy(b"policy-form = 1", "base.toml")
    result = put_on(base, [layer("MSR", "allow", '{ msr = 0x10, access = ["read"], reason = "TSC" }')])
    assert [root.type for root in result.source.policy.roots] == [RootType.MSR, RootType.MEM]
    assert result.source.note_of(0, 0).reason == "TSC"
    assert result.problems == ()


@pytest.mark.parametrize(
    ("added", "text"),
    [
        (layer("IO", "deny", ""), "the IO list is a deny list, and an allow list below"),
        (layer("IO", "allow", '{ port = 0x71, length = 1, access = ["read"] }'), "clashes with IO 0x70, length 0x2"),
        (layer("MEM", "allow", '{ base = 0, size = 1, access = ["read"] }'), "memory entries"),
    ],
)
def test_conflicts(added: PolicySource, text: str) -> None:
    result = put_on(closed(), [added])
    assert [text in one for one in texts(result)] == [True]
    assert texts(result)[0].startswith("layer.toml: ")
    assert result.source.policy.roots == put_on(closed(), []).source.policy.roots


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("MSR", '{ msr = 0x10, length = 4, access = ["read"] }, { msr = 0x13, access = ["read"] }'),
        ("INSTRUCTION", '{ instruction = "CLI", access = ["execute"] }, { instruction = "CLI", access = ["read"] }'),
        ("SAVE_STATE", '{ field = "IO_TRAP", access = ["read"] }, { field = "IO_TRAP", access = ["write"] }'),
    ],
)
def test_every_kind_of_clash_is_found(kind: str, rule: str) -> None:
    assert [" clashes with " in one for one in texts(put_on(closed(), [layer(kind, "allow", rule)]))] == [True]


def test_a_rule_that_is_there_already_is_a_remark() -> None:
    again = layer("IO", "allow", '{ port = 0x70, length = 2, access = ["read", "write"] }')
    result = put_on(closed(), [again])
    assert result.problems == ()
    assert ["is there already" in str(one) for one in result.remarks] == [True]


@pytest.mark.parametrize(
    ("rule", "kind", "text"),
    [
        ('{ port = 0xCFC, length = 4, access = ["write"] }', "IO", "port 0xcfc (CONFIG_DATA) can be written"),
        ('{ port = 0xCF8, length = 1, access = ["write"] }', "IO", "port 0xcf8 (CONFIG_ADDRESS) can be written"),
        ('{ msr = 0xC0000080, access = ["read"] }', "MSR", "MSR 0xc0000080 (EFER) can be read"),
        ('{ field = "RAX", access = ["read"] }', "SAVE_STATE", "RAX can be read on an input of 2 bytes"),
    ],
)
def test_the_minimum_is_not_weakened_without_being_told_to(rule: str, kind: str, text: str) -> None:
    result = put_on(closed(), [layer(kind, "allow", rule)])
    assert any(one.is_weakening and text in one.text for one in result.problems), texts(result)
    assert "weakens the minimum" in texts(result)[0]
    for told in (
        put_on(closed(), [layer(kind, "allow", rule)], may_weaken=True),
        put_on(closed(), [layer(kind, "allow", rule, "weakens-minimum = true")]),
    ):
        assert told.problems == ()
        assert any(text in one.text for one in told.remarks)


def test_only_the_asked_vendors_minimum_counts() -> None:
    intel_only = layer("MSR", "allow", '{ msr = 0x570, access = ["read"] }')
    assert put_on(closed(), [intel_only], [Vendor.AMD]).problems == ()
    assert put_on(closed(), [intel_only], [Vendor.INTEL]).problems != ()


def test_a_list_that_ends_the_reference_s_judgement_weakens_the_minimum() -> None:
    """The checker refuses to look at a deny list for the save state at all."""
    base = read_toml_policy(CLOSED.rsplit("[[root]]", 1)[0].encode(), "base.toml")
    put = put_on(base, [layer("SAVE_STATE", "deny", '{ field = "RAX", access = ["read"] }')], [Vendor.AMD])
    assert put.problems
    assert all(one.is_weakening for one in put.problems)
    assert any("deny" in str(one).lower() for one in put.problems), texts(put)
    assert put_on(base, [layer("SAVE_STATE", "allow", '{ field = "IO_TRAP", access = ["read"] }')]).problems == ()


def test_a_lists_own_note_is_the_bases_or_the_layers() -> None:
    """The base's word on a list counts; where it has none, the layer's is kept."""
    rule = '{ msr = 0x10, access = ["read"] }'
    noted = read_toml_policy(
        f'policy-form=1\n[[root]]\ntype="MSR"\nlist="allow"\nreason="ours"\nrule=[{rule}]'.encode()
    )
    assert put_on(closed(), [noted]).source.notes_of(1).note.reason == "ours"
    based = read_toml_policy(CLOSED.replace('type = "MSR"', 'type = "MSR"\nreason = "base"').encode())
    assert put_on(based, [noted]).source.notes_of(1).note.reason == "base"


@pytest.mark.parametrize(
    "changed",
    [
        lambda policy: replace(policy, flags=1),
        lambda policy: replace(policy, version_minor=1),
        lambda policy: replace(policy, extras=(Extra(policy.size, b"x"),)),
        lambda policy: replace(policy, roots=(replace(policy.roots[0], reserved=b"abc"), *policy.roots[1:])),
    ],
)
def test_what_layers_would_drop_is_refused(changed: Callable[[Policy], Policy]) -> None:
    odd = PolicySource(changed(closed().policy))
    for result in (put_on(odd, []), put_on(closed(), [odd])):
        assert any("would be lost" in text for text in texts(result))


def _random_rules(random: Random, kind: str, count: int) -> list[Entry]:
    if kind == "IO":
        numbers = (
            (random.randrange(24), random.choice((0, 1, 1, 2, 4)), random.choice((1, 9, 9))) for _ in range(count)
        )
        return [IoEntry(*one) for one in numbers]
    return [MsrEntry(random.randrange(40), random.choice((0, 1, 1, 1, 3)), 1) for _ in range(count)]


@pytest.mark.parametrize("kind", ["IO", "MSR"])
def test_clashes_are_those_that_the_comparison_of_all_pairs_finds(kind: str) -> None:
    """Of random rules, most of which meet, each has the fate that comparing it with all before it would give it."""
    random = Random(8)
    for _ in range(300):
        base, added = _random_rules(random, kind, 3), _random_rules(random, kind, 6)
        expected, conflicts = list(base), 0
        for one in added:
            if one in expected:
                continue
            if any(rules_clash(earlier, one) for earlier in expected):
                conflicts += 1
            else:
                expected.append(one)
        type_ = RootType[kind]
        sources = [PolicySource(default_layout((PolicyRoot(type_, 0, tuple(r)),), True, "x")) for r in (base, added)]
        result = put_on(sources[0], sources[1:], may_weaken=True)
        assert list(result.source.policy.roots[0].entries) == expected
        assert len(result.problems) == conflicts


def test_ten_thousand_rules_on_ten_thousand_are_compared_where_they_meet() -> None:
    lists = [tuple(MsrEntry(2 * number + odd, 1, 3) for number in range(10_000)) for odd in (0, 1)]
    one, two = (PolicySource(default_layout((PolicyRoot(RootType.MSR, 1, each),), True, "x")) for each in lists)
    compared = 0

    def count(earlier: Entry, later: Entry) -> bool:
        nonlocal compared
        compared += 1
        return rules_clash(earlier, later)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "rules_clash", count)
        result = put_on(one, [two], [Vendor.AMD])
    assert (len(result.source.policy.roots[0].entries), result.problems, compared) == (20_000, (), 0)
