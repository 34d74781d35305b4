"""What a boot of real firmware takes, phase by phase: the median of five boots, in milliseconds.

    python -m benchmarks.boot_phases [IMAGE] [--runs N] [--processor NAME] [--json]

IMAGE is by default OVMF_CODE_4M.secboot.fd of Debian's ``ovmf``, as ``scripts/fetch-ovmf`` unpacks it, with the
variable store beside it and every relaxation. The figures are this process's processor time, so that a busy computer
troubles little. "read" is reading the image and wiring the platform; "messages" lists all variables once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

from mmsupervisor.dxe.phases import Phase
from mmsupervisor.session import Session, boot
from tests.support.ovmf import locate

DEFAULT_IMAGE = "OVMF_CODE_4M.secboot.fd"
RUNS = 5


def _now() -> float:
    """Milliseconds of processor time so far."""
    return 1000 * time.process_time()


def one_boot(image: Path, processor: str) -> dict[str, float]:
    """Boot once and return what each phase took."""
    took: dict[str, float] = {}
    last = _now()

    def mark(name: str) -> None:
        nonlocal last
        now = _now()
        took[name], last = now - last, now

    def read(_session: Session) -> None:
        mark("read")

    with boot(image, observe=True, processor=processor, until=Phase.LAUNCHED, prepare=read) as session:
        mark(Phase.LAUNCHED.value)
        for phase in list(Phase)[1 : list(Phase).index(Phase.READY_TO_BOOT) + 1]:
            session.advance(phase)
            mark(phase.value)
        if session.stop is not None or session.launch_failure is not None:
            raise SystemExit(f"{image}: the boot did not reach its end")
        session.variables.all()
        mark("messages")
    return took


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--processor", default="auto")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args(arguments)
    image = options.image or locate().path(DEFAULT_IMAGE)
    one_boot(image, options.processor)  # the first one also imports
    boots = [one_boot(image, options.processor) for _ in range(options.runs)]
    figures = {phase: round(median(one[phase] for one in boots), 1) for phase in boots[0]}
    figures["all phases"] = round(median(sum(one.values()) - one["messages"] for one in boots), 1)
    if options.as_json:
        sys.stdout.write(
            json.dumps({"image": image.name, "runs": options.runs, "milliseconds": figures}, indent=2) + "\n"
        )
    else:
        for phase, value in figures.items():
            sys.stdout.write(f"{phase:16} {value:8.1f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
