"""What can be said for certain about an image without running it (developer-considerations.md §9).

Every check is declared once in :data:`CHECKS`; remarks, documentation and the test that nothing is missing come from
there. Only what is certain is a remark: an image of which parts could not be opened gets none about what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmsupervisor.inventory.model import PolicyReport, Remark, Role, Severity, Visibility
from mmsupervisor.inventory.modules import FoundModule
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.pe import QuirkKind, load_problems, plan_protection
from mmsupervisor.pi.volume import SectionType


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checks look at.

    Attributes:
        modules: All modules.
        policies: All policy files.
        is_complete: Whether every part of the image could be opened.
    """

    modules: Sequence[FoundModule]
    policies: Sequence[PolicyReport]
    is_complete: bool

    def of(self, *roles: Role) -> list[FoundModule]:
        """Modules of the given roles."""
        return [module for module in self.modules if module.report.role in roles]

    @property
    def standalone(self) -> list[FoundModule]:
        """What the supervisor's core dispatches, the broker among them."""
        return [module for module in self.modules if module.report.role.is_standalone]

    @property
    def core(self) -> FoundModule | None:
        """The MM Supervisor's core, if there is one in the image."""
        return next(iter(self.of(Role.SUPERVISOR_CORE)), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: a module (or a volume, or neither), and what about it."""

    text: str
    module: FoundModule | None = None
    volume: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        id: Identifier: a number of developer-considerations.md §9, or a word for what that table does not number.
        severity: How much a finding matters.
        title: What is wrong if it finds something, one clause.
        source: Where the rule stands.
        find: Gives each finding.
    """

    id: str
    severity: Severity
    title: str
    source: str
    find: Callable[[Evidence], Iterator[Finding]]


def remarks(evidence: Evidence) -> tuple[Remark, ...]:
    """What all checks say, worst first, else in the order of the table and of the image."""
    found = [_remark(check, finding) for check in CHECKS for finding in check.find(evidence)]
    order = list(Severity)
    return tuple(sorted(found, key=lambda remark: order.index(remark.severity)))


def _remark(check: Check, finding: Finding) -> Remark:
    if finding.module is None:
        return Remark(check.id, check.severity, None, finding.volume, finding.text)
    report = finding.module.report
    return Remark(check.id, check.severity, report.name, report.volume, finding.text)


def _visible(evidence: Evidence) -> Iterator[Finding]:
    for module in evidence.standalone:
        report = module.report
        if report.is_found:
            continue
        if module.volume.report.visibility is Visibility.TOO_DEEP:
            yield Finding(f"volume {report.volume} is nested too deep: no HOB reports it before the launch", module)
        elif module.file.is_large:
            yield Finding("the file is a large one: the scan reads its three-byte size only", module)
        else:
            yield Finding(f"the scan of volume {report.volume} ends before this file", module)


def _policy(evidence: Evidence) -> Iterator[Finding]:
    for policy in evidence.policies:
        if policy.trouble:
            yield Finding(policy.trouble, volume=policy.volume)
    core = evidence.core
    if core is None or (not evidence.is_complete and not evidence.policies):
        return
    home = core.report.volume
    if not evidence.policies:
        yield Finding(f"there is no policy; the core is in volume {home} and looks for one there", volume=home)
    elif all(policy.volume != home for policy in evidence.policies):
        where = ", ".join(str(policy.volume) for policy in evidence.policies)
        yield Finding(f"the policy is in volume {where}, the core looks for it in its own, {home}", volume=home)


def _sections(evidence: Evidence) -> Iterator[Finding]:
    for module in evidence.standalone:
        if not module.has_outermost(SectionType.MM_DEPEX):
            inner = module.dependency is not None
            where = "its MM_DEPEX section is encapsulated" if inner else "there is no MM_DEPEX section"
            yield Finding(f"{where}: the driver never runs", module)
        if not module.has_outermost(SectionType.PE32):
            yield Finding(f"{_why_no_pe32(module)}: the scan of its volume ends here", module)
    for module in evidence.of(Role.SUPERVISOR_CORE, Role.STANDALONE_CORE):
        if module.report.executable is None or module.report.executable.format == "TE":
            yield Finding("there is no PE32 section: the core cannot be loaded", module)


def _why_no_pe32(module: FoundModule) -> str:
    executable = module.report.executable
    if executable is None:
        return "there is no PE32 section"
    return "its image is a TE section" if executable.format == "TE" else "its PE32 section is encapsulated"


def _before_broker(evidence: Evidence) -> Iterator[Finding]:
    for module in evidence.standalone:
        dependency = module.dependency
        if dependency is None:
            continue
        if module.report.role is Role.BROKER and not dependency.is_true_at_start:
            yield Finding("the broker's dependencies are not true from the start: nothing can run before it", module)
        elif module.report.role is not Role.BROKER and dependency.is_true_at_start:
            yield Finding("its dependencies are true without the broker: it may run first and gets no MMST", module)


def _unordered(evidence: Evidence) -> Iterator[Finding]:
    for module in evidence.of(Role.STANDALONE_DRIVER):
        dependency = module.dependency
        if dependency and dependency.may_precede_broker and not dependency.is_true_at_start and not dependency.never:
            yield Finding("its dependencies do not ask for the broker: only those of others keep it behind", module)


def _dependencies(evidence: Evidence) -> Iterator[Finding]:
    files = {module.report.guid for module in evidence.standalone}
    for module in evidence.standalone:
        dependency = module.dependency
        if dependency is None:
            continue
        for reason in dependency.never:
            yield Finding(reason, module)
        if dependency.stands_by and dependency.stands_by not in files and evidence.is_complete:
            yield Finding(f"it stands by {dependency.stands_by.label}, which is not in this image", module)


def _loadable(evidence: Evidence) -> Iterator[Finding]:
    for module in evidence.standalone:
        executable = module.report.executable
        if module.image is None:
            if executable is not None and executable.trouble:
                yield Finding(f"the image cannot be read: {executable.trouble}", module)
            continue
        if not module.image.is_x64:
            yield Finding(f"the image is {module.image.label}, the supervisor runs PE32+ X64 only", module)
        if module.image.relocations_stripped:
            yield Finding("relocations are stripped: the image works at its base only", module)
        for problem in load_problems(module.image):
            if problem.is_certain:
                yield Finding(f"{problem.detail} ({problem.rule.name})", module)


_PROTECTION_QUIRKS = {
    QuirkKind.ADJACENT_CODE,
    QuirkKind.WRITABLE_CODE,
    QuirkKind.EXECUTE_WITHOUT_CODE,
    QuirkKind.UNPROTECTED_TAIL,
}


def _protection(evidence: Evidence) -> Iterator[Finding]:
    for module in evidence.standalone:
        if module.image is None or any(problem.is_certain for problem in load_problems(module.image)):
            continue
        try:
            quirks = plan_protection(module.image).quirks
        except FormatError:
            continue
        for quirk in quirks:
            if quirk.kind in _PROTECTION_QUIRKS:
                yield Finding(f"section {quirk.section!r}: {quirk.detail}", module)


def _cores(evidence: Evidence) -> Iterator[Finding]:
    cores = evidence.of(Role.SUPERVISOR_CORE, Role.STANDALONE_CORE)
    if len(cores) > 1:
        places = ", ".join(f"{core.report.name} in volume {core.report.volume}" for core in cores)
        yield Finding(f"there are {len(cores)} cores of type MM_CORE_STANDALONE, one is loaded: {places}")
    for core in cores:
        if core.report.role is Role.STANDALONE_CORE:
            yield Finding("the core is not the MM Supervisor's: its file has another name", core)


def _brokers(evidence: Evidence) -> Iterator[Finding]:
    brokers = evidence.of(Role.BROKER)
    if len(brokers) > 1:
        yield Finding(f"there are {len(brokers)} brokers: the second one's registration is fatal", brokers[1])


def _home_volume(evidence: Evidence) -> Iterator[Finding]:
    core = evidence.core
    for module in evidence.standalone if core else ():
        if core and module.report.volume != core.report.volume and module.report.is_found:
            home = core.report.volume
            yield Finding(
                f"the driver is in volume {module.report.volume}, the core in {home}: one was asked for", module
            )


def _traditional(evidence: Evidence) -> Iterator[Finding]:
    count = len(evidence.of(Role.TRADITIONAL_DRIVER, Role.COMBINED_DRIVER))
    tail = "conversion to MM_STANDALONE: no MM Supervisor core can load"
    if count == 1:
        yield Finding(f"a traditional SMM driver needs {tail} it as it is")
    elif count:
        yield Finding(f"{count} traditional SMM drivers need {tail} them as they are")


_SHEET = "developer-considerations.md"

CHECKS: tuple[Check, ...] = (
    Check("C1", Severity.ERROR, "the MM core does not find the driver", f"{_SHEET} §1, boot-flow.md §5", _visible),
    Check("C2", Severity.ERROR, "the core gets no usable policy", "boot-flow.md §4.3", _policy),
    Check("C3", Severity.ERROR, "a section that every driver needs is missing", "boot-flow.md §5", _sections),
    Check("C4", Severity.ERROR, "the broker is not the first to run", f"{_SHEET} §6", _before_broker),
    Check(
        "C5", Severity.ERROR, "the dependencies can never come true", "boot-flow.md §6.2, guids.md §7", _dependencies
    ),
    Check("C7", Severity.ERROR, "the image cannot be loaded", "boot-flow.md §6.4", _loadable),
    Check("C8", Severity.WARNING, "pages get other attributes than the image says", "memory.md §5", _protection),
    Check("cores", Severity.ERROR, "not exactly one MM Supervisor core", f"{_SHEET} §1", _cores),
    Check("brokers", Severity.ERROR, "more than one broker", f"{_SHEET} §6", _brokers),
    Check("order", Severity.WARNING, "nothing puts the driver behind the broker", f"{_SHEET} §6", _unordered),
    Check("volume", Severity.WARNING, "the driver is not in the core's volume", f"{_SHEET} §1", _home_volume),
    Check("traditional", Severity.NOTE, "drivers need conversion", f"{_SHEET} §8", _traditional),
)
"""All checks. C6 and C9 to C20 need a look at the code, or a run."""
