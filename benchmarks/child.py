"""A process of its own for what is measured of whole processes; prints one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def proportional_kib(process: str) -> int:
    """Memory of a process, what it shares with others divided among them; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main(what: str, processor: str, seconds: float) -> dict[str, float]:
    """Return what was measured."""
    from benchmarks.supervisor_figures import boot_echo, echo
    from mmsupervisor.processor.native.native_processor import NativeProcessor
    from mmsupervisor.session import boot

    if what == "memory":
        imported = proportional_kib("self")
        with boot(processor=processor) as session:
            runs = session._platform.processor
            stub = runs._stub if isinstance(runs, NativeProcessor) else None
            return {
                "imported": imported,
                "booted": proportional_kib("self"),
                "stub": proportional_kib(str(stub.pid)) if stub else 0,
            }
    with boot_echo(processor) as session:
        send, count = echo(session), 0
        begin = time.perf_counter()
        while time.perf_counter() < begin + seconds:
            send()
            count += 1
        return {"rate": count / (time.perf_counter() - begin)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0)))
