"""How long loading, checking and deciding take. Not a test: run it and read it.

Usage: ``python benchmarks/policy_decisions.py [entries]`` (default 10,000).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

from mmsupervisor.policy.blob import assemble, read_blob, write_blob
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.compare import compare
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_io, decide_msr
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.levels import Vendor, judge
from mmsupervisor.policy.lint import lint
from mmsupervisor.policy.model import AccessAttr, IoEntry, MsrEntry, Policy, PolicyRoot, RootType
from mmsupervisor.policy.reference_tool import reference_build
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_source import read_toml_policy
from mmsupervisor.policy.toml_writer import write_toml
from mmsupervisor.policy.xml_source import read_xml
from mmsupervisor.policy.xml_writer import write_xml

T = TypeVar("T")


def timed(what: str, run: Callable[[], T], per: int = 1) -> T:
    """Run once and print the processor time, also divided by ``per``."""
    start = time.process_time()
    result = run()
    spent = time.process_time() - start
    print(f"{what:<52} {spent * 1e3:10.2f} ms" + (f"  {spent / per * 1e9:10.0f} ns each" if per > 1 else ""))
    return result


def large_policy(entries: int, shift: int = 0) -> Policy:
    """Ports and MSRs by halves, without overlap, in no order; with a shift, next to where they would be."""
    random = Random(1)
    half = entries // 2
    ports = [IoEntry(number * 6 + shift, 1 + number % 5, 1 + number % 3) for number in range(half)]
    msrs = [MsrEntry(number * 16 + shift, 1 + number % 15, 3) for number in range(entries - half)]
    random.shuffle(ports)
    random.shuffle(msrs)
    return assemble(
        [PolicyRoot(RootType.IO, AccessAttr.DENY, tuple(ports)), PolicyRoot(RootType.MSR, AccessAttr.DENY, tuple(msrs))]
    )


def main() -> int:
    """Print all timings."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"policy of {entries} entries")
    blob = timed("write", lambda: write_blob(large_policy(entries)))
    policy = timed("read", lambda: read_blob(blob))
    violation = timed("security policy check", lambda: security_policy_check(policy))
    print(f"  -> {violation or 'passes'}")
    timed("lint", lambda: lint(policy))
    toml = write_toml(PolicySource(policy)).encode()
    xml = write_xml(policy).encode()
    timed(f"read TOML, {len(toml) >> 10} KiB", lambda: read_toml_policy(toml))
    timed(f"read XML strictly, {len(xml) >> 10} KiB, with the check", lambda: read_xml(xml))
    timed("read XML as the reference and build", lambda: reference_build(xml))
    timed("both levels, for AMD", lambda: judge(policy, Vendor.AMD))
    timed("compare with the default policy", lambda: compare(policy, default_policy()))
    timed("compare with another as large", lambda: compare(policy, large_policy(entries, shift=2)))
    compiled = CompiledPolicy(policy)
    timed("compile one width and access", lambda: compiled.io(0, 2, 1))
    timed("compile MSRs", lambda: compiled.msr(0, 1))
    random = Random(2)
    ports = [random.randrange(0xFFFD) for _ in range(100_000)]
    timed("compiled decisions", lambda: [compiled.io(port, 2, 1) for port in ports], len(ports))
    timed("plain decisions", lambda: [decide_io(policy, port, 2, 1) for port in ports[:50]], 50)

    print("default policy")
    policy = default_policy()
    compiled = CompiledPolicy(policy)
    timed("compiled decisions, ports", lambda: [compiled.io(port, 2, 1) for port in ports], len(ports))
    timed("compiled decisions, MSRs", lambda: [compiled.msr(port, 1) for port in ports], len(ports))
    timed("plain decisions, ports", lambda: [decide_io(policy, port, 2, 1) for port in ports[:10_000]], 10_000)
    timed("plain decisions, MSRs", lambda: [decide_msr(policy, port, 1) for port in ports[:10_000]], 10_000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
