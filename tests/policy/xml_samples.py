"""XML policies for the tests: pieces, and what goes wrong in them. The example is rebuilt from the sheet's facts."""

from __future__ import annotations


def value(tag: str, text: object) -> str:
    return f'<{tag} Value="{text}"/>'


def entry(*parts: str) -> str:
    return f"<PolicyEntry>{''.join(parts)}</PolicyEntry>"


def ranged(start: object, size: object, attributes: str = "Write") -> str:
    return entry(value("StartAddress", start), value("Size", size), value("SecurityAttributes", attributes))


def instruction(name: str, attributes: str = "Execute") -> str:
    return entry(value("Instruction", name), value("SecurityAttributes", attributes))


def save_state(field: str, attributes: str, condition: str | None = None) -> str:
    parts = [value("SaveStateField", field), value("SecurityAttributes", attributes)]
    if condition is not None:
        parts.append(value("AccessCondition", condition))
    return entry(*parts)


def category(name: str, *entries: str, access: str = "Deny") -> str:
    return f'<SmmCategory name="{name}">{value("PolicyAccessAttribute", access)}{"".join(entries)}</SmmCategory>'


def policy(*categories: str) -> bytes:
    return f"<SmmIsolationPolicy>{''.join(categories)}</SmmIsolationPolicy>".encode()


ALL = "Read | Write | Execute"
MSRS = (
    (0xC0000080, 1),
    (0xC0000081, 4),
    (0xC0010010, 1),
    (0xC0010111, 1),
    (0x1D9, 1),
    (0xDA0, 1),
    (0x6A0, 1),
    (0x6A2, 1),
    (0x6A4, 5),
    (0xC0011010, 1),
    (0xC0011024, 1),
    (0xC0011018, 1),
    (0xC0000101, 2),
)
EXAMPLE_XML = policy(
    category("IO", ranged("0xCF8", "0x4", "Write | StrictWidth"), ranged("0xCFC", "0x4", "Write")),
    category("MSR", *(ranged(hex(first), hex(size), ALL) for first, size in MSRS)),
    category("INSTRUCTION", *(instruction(name) for name in ("CLI", "WBINVD", "HLT")), access="Allow"),
    category(
        "SAVESTATE",
        save_state("RAX", "LimitedRead", "IoWrite"),
        save_state("IO_TRAP", "Read", "Unconditional"),
        access="Allow",
    ),
)
