"""The policy as XML, read strictly: what the reference's tool would misread without a word is refused with its line.

Facts: ``docs/reference/isolation-policy.md`` §4. Whatever this reader takes, the reference's tool reads the same way;
the reverse is not so (:mod:`mmsupervisor.policy.reference_tool` reads as the tool does). Refused here and taken there:
access words other than ``Allow`` and ``Deny``; words in SecurityAttributes that are none, are repeated, hide one
another or mean nothing for the category; entries that name no access; ranges beyond the last port or MSR; unknown
conditions; unknown or repeated elements and attributes; namespaces; text between elements; entries that clash.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from mmsupervisor.pi.errors import SourceError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.policy import xml_names as words
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.decide import MSRS, PORTS, WIDTH_SIZES
from mmsupervisor.policy.model import (
    AccessAttr,
    AccessCondition,
    Attribute,
    Entry,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Place,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from mmsupervisor.policy.xml_tree import XmlElement, read_xml_tree

_NUMBER = re.compile(r"[ \t]*(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|[1-9](?:_?[0-9])*|0+)[ \t]*")
_LONGEST_NUMBER = 40
_SEPARATORS = re.compile(r"[\s|,]+")

_MOST_LENGTH = 0xFFFF

_CHILDREN = {
    RootType.IO: (words.START, words.SIZE, words.ATTRIBUTES),
    RootType.MSR: (words.START, words.SIZE, words.ATTRIBUTES),
    RootType.INSTRUCTION: (words.INSTRUCTION, words.ATTRIBUTES),
    RootType.SAVE_STATE: (words.FIELD, words.ATTRIBUTES),
}
"""What an entry must hold; one of the save state may hold a condition."""

_READ_WRITE = Attribute.READ | Attribute.WRITE
_MEANINGFUL = {
    RootType.IO: _READ_WRITE | Attribute.STRICT_WIDTH,
    RootType.MSR: _READ_WRITE,
    RootType.INSTRUCTION: Attribute.EXECUTE,
    RootType.SAVE_STATE: Attribute.READ | Attribute.COND_READ,
}
_TOLERATED = {RootType.IO: Attribute.EXECUTE, RootType.MSR: Attribute.EXECUTE}
"""Means nothing, and the reference's own example has it on every MSR."""


def read_xml(data: bytes, file: str = "policy.xml", allowance: Allowance | None = None) -> Policy:
    """Read a policy from XML, strictly.

    Args:
        data: The file.
        file: Its name in messages and places.
        allowance: Bounds for hostile input.

    Returns:
        The policy as the reference's tool lays it out. Every root and entry has its line.

    Raises:
        SourceError: the file breaks a rule of the form, or the policy fails the supervisor's own check.
        LimitError: the file holds more than the bounds allow.
    """
    document = read_xml_tree(data, file, allowance)
    reader = _Reader(file)
    policy = assemble(reader.document(document), file=file)
    if violation := security_policy_check(policy):
        line = violation.place.line if violation.place and violation.place.line else 0
        text = f"{violation.detail} (rule {violation.rule} of the supervisor's check)"
        if violation.other is not None and violation.root is not None:
            text += f"; the earlier one: {policy.roots[violation.root].entries[violation.other].place}"
        raise SourceError(file, line, text)
    return policy


class _Reader:
    """Reads one file; every method refuses what it does not know."""

    def __init__(self, file: str) -> None:
        self._file = file

    def _error(self, element: XmlElement, rule: str) -> SourceError:
        return SourceError(self._file, element.line, rule)

    def _place(self, element: XmlElement) -> Place:
        return Place(self._file, line=element.line)

    def document(self, root: XmlElement) -> list[PolicyRoot]:
        if root.tag not in words.ROOT_NAMES:
            raise self._error(root, f"the document is `{root.tag}`, not `{words.ROOT_NAMES[0]}`")
        self._shape(root, (), (words.CATEGORY,))
        seen: dict[str, int] = {}
        roots = []
        for category in root.children:
            self._shape(category, (words.NAME,), (words.ACCESS, words.ENTRY))
            name = category.attributes[words.NAME]
            if name not in words.CATEGORIES:
                raise self._error(category, f"unknown category `{name}`; there are {', '.join(words.CATEGORIES)}")
            if name in seen:
                raise self._error(category, f"a second category `{name}`; the first is in line {seen[name]}")
            seen[name] = category.line
            roots.append(self._category(words.CATEGORIES[name], category))
        return roots

    def _shape(self, element: XmlElement, attributes: Collection[str], children: Collection[str]) -> None:
        """Exactly these attributes, no other children, no text."""
        unknown = next((name for name in element.attributes if name not in attributes), None)
        if unknown is not None:
            raise self._error(element, f"unknown attribute `{unknown}` of `{element.tag}`")
        missing = next((name for name in attributes if name not in element.attributes), None)
        if missing is not None:
            raise self._error(element, f"`{element.tag}` has no attribute `{missing}`")
        if element.text_line:
            raise SourceError(self._file, element.text_line, f"text in `{element.tag}`, which nothing reads")
        for child in element.children:
            if child.tag not in children:
                raise self._error(child, f"unknown element `{child.tag}` in `{element.tag}`")

    def _only(self, element: XmlElement, tag: str) -> XmlElement:
        """The one child of that name, which has a value and nothing else."""
        found = [child for child in element.children if child.tag == tag]
        if not found:
            raise self._error(element, f"`{element.tag}` has no `{tag}`")
        if len(found) > 1:
            raise self._error(found[1], f"a second `{tag}`; the first is in line {found[0].line}")
        self._shape(found[0], (words.VALUE,), ())
        return found[0]

    def _category(self, kind: RootType, category: XmlElement) -> PolicyRoot:
        access = self._only(category, words.ACCESS)
        word = access.attributes[words.VALUE]
        if word not in (words.ALLOW, words.DENY):
            raise self._error(access, f"`{word}` is neither `{words.ALLOW}` nor `{words.DENY}`")
        attr = AccessAttr.ALLOW if word == words.ALLOW else AccessAttr.DENY
        entries = tuple(self._entry(kind, child) for child in category.children if child.tag == words.ENTRY)
        return PolicyRoot(kind, attr, entries, place=self._place(category))

    def _entry(self, kind: RootType, entry: XmlElement) -> Entry:
        wanted = _CHILDREN[kind]
        self._shape(entry, (), (*wanted, words.CONDITION) if kind is RootType.SAVE_STATE else wanted)
        parts = {tag: self._only(entry, tag) for tag in wanted}
        bits = self._bits(kind, parts[words.ATTRIBUTES])
        place = self._place(entry)
        if kind is RootType.INSTRUCTION:
            number = self._word(parts[words.INSTRUCTION], words.INSTRUCTIONS, "instruction")
            return InstructionEntry(number, bits, place=place)
        if kind is RootType.SAVE_STATE:
            number = self._word(parts[words.FIELD], words.FIELDS, "save-state field")
            return SaveStateEntry(number, bits, self._condition(entry, bits), place=place)
        limit = PORTS if kind is RootType.IO else MSRS
        start, size = self._range(parts[words.START], parts[words.SIZE], limit)
        if kind is RootType.IO:
            if bits & Attribute.STRICT_WIDTH and size not in WIDTH_SIZES.values():
                raise self._error(parts[words.SIZE], f"no access has the strict width {size}; there are 1, 2 and 4")
            return IoEntry(start, size, bits, place=place)
        return MsrEntry(start, size, bits, place=place)

    def _number(self, element: XmlElement, least: int, most: int) -> int:
        text = element.attributes[words.VALUE]
        if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
            raise self._error(element, f"`{element.tag}` is no number: `{text[:_LONGEST_NUMBER]}`")
        value = int(text, 0)
        if not least <= value <= most:
            raise self._error(element, f"`{element.tag}` {value:#x} is not from {least:#x} to {most:#x}")
        return value

    def _range(self, start: XmlElement, size: XmlElement, limit: int) -> tuple[int, int]:
        first = self._number(start, 0, limit - 1)
        length = self._number(size, 1, _MOST_LENGTH)
        # An MSR range that ends at the last register wraps in the reference and covers nothing (sheet §7).
        last = limit if limit == PORTS else limit - 1
        if first + length > last:
            raise self._error(start, f"the range {first:#x}, size {length:#x}, runs beyond {last - 1:#x}")
        return first, length

    def _word(self, element: XmlElement, names: Mapping[str, int], what: str) -> int:
        text = element.attributes[words.VALUE]
        known = {name.upper(): number for name, number in names.items()}
        if text.upper() not in known:
            raise self._error(element, f"unknown {what} `{text}`; there are {', '.join(names)}")
        return known[text.upper()]

    def _condition(self, entry: XmlElement, bits: int) -> int:
        if not any(child.tag == words.CONDITION for child in entry.children):
            return AccessCondition.UNCONDITIONAL
        element = self._only(entry, words.CONDITION)
        condition = self._word(element, words.CONDITIONS, "condition")
        if condition and not bits & Attribute.COND_READ:
            raise self._error(element, "a condition goes with `LimitedRead` only")
        return condition

    def _bits(self, kind: RootType, element: XmlElement) -> int:
        bits = Attribute(0)
        for word in _SEPARATORS.split(element.attributes[words.VALUE].strip(" |,\t")):
            if word not in words.BITS:
                problem = f"unknown word `{word}`; there are {', '.join(words.BITS)}" if word else "no access is named"
                raise self._error(element, problem)
            if bits & words.BITS[word]:
                raise self._error(element, f"`{word}` twice")
            bits |= words.BITS[word]
        for hidden, hiding in (("Read", "LimitedRead"), ("Write", "LimitedWrite")):
            if bits & words.BITS[hidden] and bits & words.BITS[hiding]:
                raise self._error(element, f"`{hiding}` hides `{hidden}`: one entry cannot hold both")
        useless = bits & ~(_MEANINGFUL[kind] | _TOLERATED.get(kind, Attribute(0)))
        if useless:
            names = ", ".join(f"`{name}`" for name, bit in words.BITS.items() if useless & bit)
            raise self._error(element, f"{names} means nothing on {kind.name} entries")
        if not bits & _MEANINGFUL[kind] & ~Attribute.STRICT_WIDTH:
            raise self._error(element, "no access is named that a decision looks at")
        return int(bits)
