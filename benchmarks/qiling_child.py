"""Run by a Python that has Qiling: loads UEFI drivers and runs their entry points; one line of JSON for each."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def start(driver: Path) -> dict[str, object]:
    """Return the milliseconds from the file to the end of the entry point, or how it failed."""
    from qiling import Qiling  # type: ignore[import-not-found]
    from qiling.const import QL_VERBOSE  # type: ignore[import-not-found]

    begin = time.process_time()
    try:
        Qiling([str(driver)], str(driver.parent), verbose=QL_VERBOSE.OFF).run()
    except Exception as failure:
        return {"driver": driver.stem, "failure": f"{type(failure).__name__}: {failure}"}
    return {"driver": driver.stem, "milliseconds": (time.process_time() - begin) * 1e3}


if __name__ == "__main__":
    for word in sys.argv[1:]:
        start(Path(word))  # the first time some of Qiling is still to be loaded
        print(json.dumps(start(Path(word))), flush=True)
