"""The report on learning as text. Everything that is said stands in the JSON document, from which this is rendered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmsupervisor.cli.policy_view import entry_text

Document = dict[str, Any]


def learn_lines(document: Document) -> Iterator[str]:
    """What was run, then what was learned or what would have been denied."""
    accesses = document["accesses"]
    run = document["run"]
    count = sum(one["count"] for one in accesses)
    drivers = dict.fromkeys(one["driver"] or "code in no image" for one in accesses)
    seen = f"{_times(count, 'access', 'accesses')} by {', '.join(drivers)}" if accesses else "nothing to decide on"
    yield f"{document['image']['name']}: {seen}"
    if run["removed"]:
        yield f"removed for what nothing relaxes, so not all that they access is known: {', '.join(run['removed'])}"
    if run["end"]:
        yield f"the run ended early, and nothing is written: {run['end']}"
    if document["learned"] is not None:
        yield from _learned(document["learned"], accesses)
    if document["judged"] is not None:
        yield from _judged(document["judged"], accesses)


def _learned(learned: Document, accesses: list[Document]) -> Iterator[str]:
    yield f"{_times(len(learned['rules']), 'rule', 'rules')}; everything else is denied"
    for kind in dict.fromkeys(rule["list"] for rule in learned["rules"]):
        yield ""
        yield f"{kind}:"
        for rule in learned["rules"]:
            if rule["list"] == kind:
                yield f"  {entry_text(rule)}: {_times(rule['count'], 'access', 'accesses')}"
                yield from (f"    {_access(accesses[number])}" for number in rule["accesses"])
    for one in learned["refused"]:
        yield ""
        yield f"must stay denied, asked for by {', '.join(one['drivers']) or 'code in no image'}: {one['why']}"
        yield from (f"  {_access(accesses[number])}" for number in one["accesses"])
    if learned["written"]:
        yield ""
        yield f"written: {', '.join(learned['written'])}"


def _judged(judged: Document, accesses: list[Document]) -> Iterator[str]:
    yield f"{judged['policy']} would have denied {_times(judged['denied'], 'access', 'accesses')}"
    for one in judged["denials"]:
        yield f"  {_access(accesses[one['access']])}: {one['rule']}"


def _access(one: Document) -> str:
    place = one["driver"] or "code in no image"
    if one["offset"]:
        place += f"+{one['offset']}"
    if one["symbol"]:
        place += f" ({one['symbol']})"
    return f"{place}: {one['access']}, {one['phase']}, {_often(one['count'])}"


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _times(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
