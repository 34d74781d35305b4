"""The reference's policy tool: the same output for the same input, and the same refusals, by name.

Facts: ``docs/reference/isolation-policy.md`` §4 and §5. This reads XML as that tool does, which misreads much without a
word: ``allow`` means deny, unknown attributes mean none. Our own reader is :mod:`mmsupervisor.policy.xml_source`. One
thing is not reproduced: document type declarations are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mmsupervisor.pi.errors import FormatError, MmSupervisorError
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.policy import xml_names as words
from mmsupervisor.policy.blob import FIRST_V1_0_VERSION, assemble, read_blob, write_blob
from mmsupervisor.policy.layout import PolicyLayoutError
from mmsupervisor.policy.legacy import LEGACY_LISTS, assemble_legacy, read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.model import (
    ENTRY_TYPES,
    KNOWN_ATTRIBUTES,
    POLICY_ROOT_SIZE,
    AccessAttr,
    AccessCondition,
    Attribute,
    Entry,
    Instruction,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
)
from mmsupervisor.policy.tool_decode import ToolRefusal, tool_refusal
from mmsupervisor.policy.xml_tree import XmlElement, XmlSyntaxError, read_xml_tree


class ReferenceToolError(MmSupervisorError):
    """The reference's tool would end with an exception here.

    Attributes:
        refusal: The exception.
        place: What it is about; None if that is no single place.
    """

    def __init__(self, refusal: ToolRefusal, file: str, place: Place | None = None) -> None:
        """Record exception and place; see the class."""
        self.refusal = refusal
        self.place = place
        super().__init__(f"{place or file}: the reference's tool ends with {refusal}")


_NO_ELEMENT = ToolRefusal("AttributeError", "'NoneType' object has no attribute 'get'")
_NO_TEXT = ToolRefusal("TypeError", "argument of type 'NoneType' is not iterable")
_NO_NUMBER = ToolRefusal("TypeError", "int() can't convert non-string with explicit base")
_INVALID_DATA = ToolRefusal("Exception", "Invalid Data")
_STRUCT_ERROR = ToolRefusal("struct.error")

_UNKNOWN = -1
"""What the tool makes of a name that it does not know."""

_INSTRUCTIONS = {name.upper(): number for name, number in words.INSTRUCTIONS.items()}
_FIELDS = {name.upper(): number for name, number in words.FIELDS.items()}
_CONDITIONS = {name.upper(): number for name, number in words.CONDITIONS.items()}


def read_xml_as_reference(
    data: bytes, file: str = "policy.xml", present: Iterable[int] = (), allowance: Allowance | None = None
) -> tuple[PolicyRoot, ...]:
    """The roots that the tool reads from XML. Numbers may be out of range: only writing them fails.

    Args:
        data: The file.
        file: Its name in messages and places.
        present: Types of roots that came from a blob before.
        allowance: Bounds for hostile input.

    Raises:
        ReferenceToolError: the tool refuses.
        SourceError: a document type declaration.
        LimitError: the file holds more than the bounds allow.
    """
    try:
        document = read_xml_tree(data, file, allowance)
    except XmlSyntaxError as error:
        refusal = ToolRefusal("xml.etree.ElementTree.ParseError", error.library_text)
        raise ReferenceToolError(refusal, file, Place(file, line=error.line)) from error
    seen = set(present)
    roots = []
    for category in document.descendants():
        if category.tag == words.CATEGORY:
            root = _read_category(category, file)
            if root.type in seen:
                text = f"Can't add duplicated policy of same type {root.type:d}"
                raise ReferenceToolError(ToolRefusal("RuntimeError", text), file, root.place)
            seen.add(root.type)
            roots.append(root)
    return tuple(roots)


def _read_category(category: XmlElement, file: str) -> PolicyRoot:
    place = Place(file, line=category.line)
    access = category.find(words.ACCESS)
    attr = AccessAttr.DENY
    if access is not None and words.ALLOW in _text(access, file):
        attr = AccessAttr.ALLOW
    name = category.attributes.get(words.NAME)
    kind = words.CATEGORIES.get(name or "")
    if kind is None:
        text = f"Can't encode policy root of type {name}"
        raise ReferenceToolError(ToolRefusal("NotImplementedError", text), file, place)
    entries = tuple(_read_entry(kind, child, file) for child in category.children if child.tag == words.ENTRY)
    return PolicyRoot(kind, attr, entries, place=place)


def _need(entry: XmlElement, tag: str, file: str) -> XmlElement:
    child = entry.find(tag)
    if child is None:
        raise ReferenceToolError(_NO_ELEMENT, file, Place(file, line=entry.line))
    return child


def _text(element: XmlElement, file: str) -> str:
    value = element.attributes.get(words.VALUE)
    if value is None:
        raise ReferenceToolError(_NO_TEXT, file, Place(file, line=element.line))
    return value


def _number(element: XmlElement, file: str) -> int:
    value = element.attributes.get(words.VALUE)
    place = Place(file, line=element.line)
    if value is None:
        raise ReferenceToolError(_NO_NUMBER, file, place)
    try:
        return int(value, 0)
    except ValueError as error:
        raise ReferenceToolError(ToolRefusal("ValueError", str(error)), file, place) from error


def _name(element: XmlElement, names: Mapping[str, int]) -> int:
    return names.get(element.attributes.get(words.VALUE, "").upper(), _UNKNOWN)


def _read_entry(kind: RootType, entry: XmlElement, file: str) -> Entry:
    """One entry. All children are looked for before any is read, and attributes are read before numbers."""
    place = Place(file, line=entry.line)
    if kind is RootType.INSTRUCTION:
        named = _need(entry, words.INSTRUCTION, file)
        bits = _bits(_text(_need(entry, words.ATTRIBUTES, file), file), kind)
        return InstructionEntry(_name(named, _INSTRUCTIONS), bits, place=place)
    if kind is RootType.SAVE_STATE:
        named = _need(entry, words.FIELD, file)
        bits = _bits(_text(_need(entry, words.ATTRIBUTES, file), file), kind)
        condition = entry.find(words.CONDITION)
        when = max(_name(condition, _CONDITIONS), AccessCondition.UNCONDITIONAL) if condition is not None else 0
        return SaveStateEntry(_name(named, _FIELDS), bits, when, place=place)
    start, size = _need(entry, words.START, file), _need(entry, words.SIZE, file)
    bits = _bits(_text(_need(entry, words.ATTRIBUTES, file), file), kind)
    first, length = _number(start, file), _number(size, file)
    if kind is RootType.IO:
        return IoEntry(first, length, bits, place=place)
    return MsrEntry(first, length, bits, place=place)


def _bits(text: str, kind: RootType) -> int:
    """§4.1: tests for substrings, of which the longer ones hide the shorter ones."""
    bits = Attribute(0)
    if "LimitedRead" in text:
        bits |= Attribute.COND_READ
    elif "Read" in text:
        bits |= Attribute.READ
    if "LimitedWrite" in text:
        bits |= Attribute.COND_WRITE
    elif "Write" in text:
        bits |= Attribute.WRITE
    if "Execute" in text and kind is not RootType.SAVE_STATE:
        bits |= Attribute.EXECUTE
    if "StrictWidth" in text and kind is RootType.IO:
        bits |= Attribute.STRICT_WIDTH
    return int(bits)


# --------------------------------------------------------------------------------------------------- building


def reference_build(
    xml: bytes | None,
    blob: bytes | None = None,
    version: int = FIRST_V1_0_VERSION,
    *,
    xml_file: str = "policy.xml",
    blob_file: str = "policy.bin",
    allowance: Allowance | None = None,
) -> bytes:
    """What the tool writes: decode the blob, add the XML's categories, dump, encode (§5).

    Args:
        xml: The XML file, if one is given (``-x``).
        blob: A blob to begin with (``-i``). Its version replaces ``version``.
        version: The first u32 of the output (``-v``); below 0x00010000 a legacy blob is written.
        xml_file: Name of the XML file in messages.
        blob_file: Name of the blob in messages.
        allowance: Bounds for hostile input.

    Raises:
        ReferenceToolError: the tool ends with an exception.
        SourceError: the XML has a document type declaration.
        LimitError: an input holds more than the bounds allow.
    """
    roots: tuple[PolicyRoot, ...] = ()
    if blob is not None:
        version, roots = _decode(blob, blob_file, allowance)
    if xml is not None:
        roots += read_xml_as_reference(xml, xml_file, [root.type for root in roots], allowance)
    file = xml_file if xml is not None else blob_file
    for place, refusal in _dump_refusals(roots):
        raise ReferenceToolError(refusal, file, place)
    for place, refusal in _encode_refusals(roots, version):
        raise ReferenceToolError(refusal, file, place)
    try:
        if version < FIRST_V1_0_VERSION:
            return write_legacy_blob(assemble_legacy(roots, version, file))
        return write_blob(assemble(roots, version, file))
    except PolicyLayoutError as error:  # a number that does not fit, which is struct's own message
        raise ReferenceToolError(_STRUCT_ERROR, file) from error


def _decode(blob: bytes, file: str, allowance: Allowance | None) -> tuple[int, tuple[PolicyRoot, ...]]:
    """Version and roots, without what the tool forgets: reserved fields, header bits, offsets."""
    version = int.from_bytes(blob[:4], "little")
    if version < FIRST_V1_0_VERSION:
        try:
            legacy = read_legacy_blob(blob, file, allowance)
        except FormatError as error:
            refusal = ToolRefusal("an exception on the legacy blob", error.rule)
            raise ReferenceToolError(refusal, file, Place(file, error.offset)) from error
        for root in legacy.roots():
            for entry in root.entries:
                if not isinstance(entry, MemEntry) and entry.attributes > KNOWN_ATTRIBUTES:
                    raise ReferenceToolError(ToolRefusal("Exception", "Invalid value"), file, entry.place)
        return version, legacy.roots()
    if refusal_ := tool_refusal(blob, allowance):
        raise ReferenceToolError(refusal_, file)
    policy = read_blob(blob, file, allowance)
    return version, tuple(
        replace(
            root,
            entries=tuple(map(_without_reserved, root.entries)),
            version=1,
            root_size=POLICY_ROOT_SIZE,
            reserved=bytes(3),
        )
        for root in policy.roots
    )


def _without_reserved(entry: Entry) -> Entry:
    return entry if isinstance(entry, MsrEntry) else replace(entry, reserved=0)


def _dump_refusals(roots: Sequence[PolicyRoot]) -> Iterator[tuple[Place | None, ToolRefusal]]:
    """What the dump stumbles over, before anything is written: numbers without a name."""
    for root in roots:
        if root.type not in ENTRY_TYPES:
            yield root.place, _not_valid(root.type, "POLICY_TYPE")
        for entry in root.entries:
            if isinstance(entry, InstructionEntry) and not 0 <= entry.instruction_index < len(Instruction):
                yield entry.place, _not_valid(entry.instruction_index, "SUPPORTED_INSTRUCTION")
            if isinstance(entry, SaveStateEntry):
                if not 0 <= entry.map_field < len(SaveStateField):
                    yield entry.place, _not_valid(entry.map_field, "ALLOWED_SAVE_STATE_FIELD")
                if not 0 <= entry.access_condition < len(AccessCondition):
                    yield entry.place, _not_valid(entry.access_condition, "ALLOWED_SAVE_STATE_ACCESS_CONDITION")


def _not_valid(number: int, what: str) -> ToolRefusal:
    return ToolRefusal("ValueError", f"{number} is not a valid {what}")


_FIELD_BITS = {RootType.IO: (16, 16), RootType.MSR: (32, 16)}
"""Width of address and length."""


def _encode_refusals(roots: Sequence[PolicyRoot], version: int) -> Iterator[tuple[Place | None, ToolRefusal]]:
    """What encoding refuses, in the order of the output."""
    for root in roots:
        if version < FIRST_V1_0_VERSION and root.type not in LEGACY_LISTS:
            text = f"Discovered unsupported policy descriptor type {root.type:d}"
            yield root.place, ToolRefusal("NotImplementedError", text)
        for entry in root.entries:
            match entry:
                case IoEntry():
                    start, size = entry.io_address, entry.length_or_width
                case MsrEntry():
                    start, size = entry.msr_address, entry.length
                case MemEntry():
                    start, size = 0, entry.size
                case _:
                    continue
            widths = _FIELD_BITS.get(entry.KIND, (64, 64))
            if size == 0:
                yield entry.place, _INVALID_DATA
            elif start < 0 or size < 0 or start >> widths[0] or size >> widths[1]:
                yield entry.place, _STRUCT_ERROR
