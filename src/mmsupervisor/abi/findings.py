"""Every kind of finding, once: its number, its name, what it means, what mends it, an example.

Numbers are stable: reports, documentation and tests name them. MM-1xxx is a violation that ends the
system, MM-2xxx a broken rule of the design, MM-3xxx a bug of the reference that this run met, MM-4xxx a
mistake that only an audit sees.
"""

from __future__ import annotations

from mmsupervisor.abi.finding_kind import FindingKind
from mmsupervisor.abi.findings_audit import AUDIT_KINDS
from mmsupervisor.abi.findings_calls import CALL_KINDS, END_KINDS, INSTRUCTION_KINDS
from mmsupervisor.abi.findings_design import DESIGN_KINDS
from mmsupervisor.abi.findings_memory import MEMORY_KINDS

_TABLE = (*CALL_KINDS, *INSTRUCTION_KINDS, *MEMORY_KINDS, *END_KINDS, *DESIGN_KINDS, *AUDIT_KINDS)

FINDING_KINDS: dict[str, FindingKind] = {kind.number: kind for kind in _TABLE}
"""All kinds by number."""

__all__ = ["FINDING_KINDS", "FindingKind"]
