"""What the audit of handlers finds: kinds that are declared with all others, in ``abi``."""

from __future__ import annotations

from mmsupervisor.abi.finding_kind import FindingKind
from mmsupervisor.abi.findings_audit import AUDIT_KINDS as _KINDS

AUDIT_KINDS: dict[str, FindingKind] = {kind.number: kind for kind in _KINDS}
"""All kinds by number."""
