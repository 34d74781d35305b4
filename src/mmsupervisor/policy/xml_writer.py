"""From the model to the XML form. What XML cannot express is refused; nothing is dropped on the way.

Facts: ``docs/reference/isolation-policy.md`` §4 and §5. The measure is the reference's own reading: from what is
written here its tool makes the policy that went in, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import quoteattr

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.policy import xml_names as words
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.model import (
    KNOWN_ATTRIBUTES,
    AccessAttr,
    Attribute,
    Entry,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    entry_text,
)


class NotExpressibleError(MmSupervisorError):
    """A policy that the asked form cannot hold.

    Attributes:
        form: The form.
        what: What it cannot hold, as one clause.
    """

    def __init__(self, file: str, form: str, what: str) -> None:
        """Record form and clause; see the class."""
        self.form = form
        self.what = what
        super().__init__(f"{file}: {form} cannot express this policy: {what}")


_CATEGORY_NAMES = {kind: name for name, kind in words.CATEGORIES.items()}


def write_xml(policy: Policy) -> str:
    """Write a policy as XML.

    Raises:
        NotExpressibleError: the policy holds what XML cannot: memory entries, a root without a category, two roots of
            a type, an access attribute that is neither allow nor deny, a layout that is not the tool's, header bits,
            bytes beside the fields, reserved fields, empty ranges, or attributes that no words stand for.
    """
    roots = [root for root in policy.roots if root.type != RootType.MEM]
    if clause := _trouble(policy, roots):
        raise NotExpressibleError(policy.file, "XML", clause)
    lines = ['<?xml version="1.0" encoding="utf-8"?>', f"<{words.ROOT_NAMES[0]}>"]
    for root in roots:
        lines += _category(root)
    lines.append(f"</{words.ROOT_NAMES[0]}>")
    return "\n".join(lines) + "\n"


def _trouble(policy: Policy, roots: list[PolicyRoot]) -> str:
    """The first thing that XML cannot express, or nothing."""
    seen = set()
    for number, root in enumerate(policy.roots):
        name = f"root {number} ({root.type_name})"
        if root.type in seen:
            return f"{name} is a second one of its type"
        seen.add(root.type)
        if root.type == RootType.MEM and root.entries:
            return "memory entries"
        if root.type not in (*_CATEGORY_NAMES, RootType.MEM):
            return f"there is no category for {name}"
        if not root.has_legal_attr:
            return f"{name} is neither an allow nor a deny list"
        for entry in root.entries:
            if clause := _entry_trouble(entry):
                return f"{entry_text(entry)}: {clause}"
    written = assemble(PolicyRoot(root.type, root.access_attr, root.entries) for root in roots)
    last = policy.roots[-1] if policy.roots else None
    if last is None or (last.type, last.access_attr) != (RootType.MEM, AccessAttr.DENY):
        return "the MEM root is not an empty deny list at the end"
    if policy != written:
        return "its header or its layout is not what the tool writes"
    return ""


def _entry_trouble(entry: Entry) -> str:
    bits = Attribute(entry.attributes & KNOWN_ATTRIBUTES)
    if not isinstance(entry, MsrEntry) and entry.reserved:
        return "the reserved field is not zero"
    if entry.attributes & ~KNOWN_ATTRIBUTES:
        return "attribute bits without a name"
    for both in (Attribute.READ | Attribute.COND_READ, Attribute.WRITE | Attribute.COND_WRITE):
        if bits & both == both:
            return "limited and unlimited access together"
    if bits & Attribute.STRICT_WIDTH and not isinstance(entry, IoEntry):
        return "strict width on something that is no port"
    match entry:
        case IoEntry(length_or_width=0) | MsrEntry(length=0):
            return "an empty range"
        case InstructionEntry() if entry.instruction_index not in words.INSTRUCTIONS.values():
            return "an instruction without a name"
        case SaveStateEntry() if entry.map_field not in words.FIELDS.values():
            return "a field without a name"
        case SaveStateEntry() if entry.access_condition not in words.CONDITIONS.values():
            return "a condition without a name"
        case SaveStateEntry() if bits & Attribute.EXECUTE:
            return "execution of the save state"
    return ""


def _category(root: PolicyRoot) -> Iterator[str]:
    yield f"  <{words.CATEGORY} {words.NAME}={quoteattr(_CATEGORY_NAMES[RootType(root.type)])}>"
    yield f"    {_element(words.ACCESS, words.ALLOW if root.access_attr == AccessAttr.ALLOW else words.DENY)}"
    for entry in root.entries:
        yield f"    <{words.ENTRY}>"
        yield "      " + " ".join(_element(tag, value) for tag, value in _values(entry))
        yield f"    </{words.ENTRY}>"
    yield f"  </{words.CATEGORY}>"


def _element(tag: str, value: str) -> str:
    return f"<{tag} {words.VALUE}={quoteattr(value)}/>"


def _values(entry: Entry) -> Iterator[tuple[str, str]]:
    match entry:
        case IoEntry():
            yield words.START, f"{entry.io_address:#x}"
            yield words.SIZE, f"{entry.length_or_width:#x}"
        case MsrEntry():
            yield words.START, f"{entry.msr_address:#x}"
            yield words.SIZE, f"{entry.length:#x}"
        case InstructionEntry():
            yield words.INSTRUCTION, _name(words.INSTRUCTIONS, entry.instruction_index)
        case SaveStateEntry():
            yield words.FIELD, _name(words.FIELDS, entry.map_field)
        case MemEntry():
            raise NotExpressibleError("policy", "XML", "memory entries")
    yield words.ATTRIBUTES, " | ".join(name for name, bit in words.BITS.items() if entry.attributes & bit)
    if isinstance(entry, SaveStateEntry) and entry.access_condition:
        yield words.CONDITION, _name(words.CONDITIONS, entry.access_condition)


def _name(names: Mapping[str, int], number: int) -> str:
    return next(name for name, value in names.items() if value == number)
