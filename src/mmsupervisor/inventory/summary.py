"""What an image holds for management mode, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mmsupervisor.inventory.model import ExecutableReport, ModuleReport, PolicyReport, Role
from mmsupervisor.pi.container import ContainerKind, Image
from mmsupervisor.pi.volume import Problem, ProblemKind, walk

NOT_FIRMWARE = frozenset(
    {
        ContainerKind.OTHER_FORMAT,
        ContainerKind.ERASED,
        ContainerKind.TEXT,
        ContainerKind.EMPTY,
        ContainerKind.UNKNOWN,
    }
)
"""Kinds of input that no firmware is made of."""

_NOT_LOOKED_INTO = frozenset({ContainerKind.OTHER_FORMAT, ContainerKind.UNKNOWN})
"""Kinds of input whose content is not known: firmware may be packed or encrypted in it."""

_MAY_HIDE = frozenset({ProblemKind.OUTSIDE_VOLUMES, ProblemKind.FILE_SYSTEM, ProblemKind.FREE_SPACE_CONTENT})
"""Findings that break no format, but leave bytes that may hold more than was read."""


def summarise(
    image: Image,
    executable: ExecutableReport | None,
    modules: Sequence[ModuleReport],
    policies: Sequence[PolicyReport],
    *,
    unopened: int,
    problems: Iterable[Problem],
) -> tuple[str, ...]:
    """Say what matters, one clause a line.

    Args:
        image: The input.
        executable: Its description, for an input that is nothing but an image.
        modules: All modules.
        policies: All policies.
        unopened: Number of sections that could not be opened.
        problems: What is wrong or remarkable in the format.
    """
    if image.kind in NOT_FIRMWARE:
        return (_of_no_firmware(image),)
    if executable is not None:
        return ("one image without the file around it, which would say what kind of driver it is",)
    if image.kind is ContainerKind.VARIABLE_STORE:
        return ("a variable store: UEFI variables, no files and no drivers",)
    hides_nothing = not any(problem.is_damage or problem.kind in _MAY_HIDE for problem in problems)
    is_whole = hides_nothing and not any(part.kind in _NOT_LOOKED_INTO for part in _parts(image))
    return tuple(_of_modules(modules, policies, unopened, is_whole))


def _of_no_firmware(image: Image) -> str:
    if image.kind is ContainerKind.OTHER_FORMAT:
        return f"no firmware image, but {image.detail}: what is in it is not looked at"
    if image.kind is ContainerKind.UNKNOWN:
        return "no firmware volume was found: what this is, and what is in it for management mode, cannot be told"
    return "no firmware: there is nothing in it for management mode"


def _parts(image: Image) -> Iterator[Image]:
    """The input, and what capsules in it carry."""
    return (place.node for place in walk(image) if isinstance(place.node, Image))


def _of_modules(
    modules: Sequence[ModuleReport], policies: Sequence[PolicyReport], unopened: int, is_whole: bool
) -> Iterator[str]:
    if unopened:
        sections = "a section" if unopened == 1 else f"{unopened} sections"
        yield f"{sections} could not be opened: what is in there is not in this report"
    if not modules:
        where = "what could be opened" if unopened else "this image" if is_whole else "what could be read"
        yield f"no MM drivers in {where}"
        return
    roles = [module.role for module in modules]
    drivers = roles.count(Role.STANDALONE_DRIVER)
    if any(not role.is_traditional for role in roles):
        yield (
            f"{_some(roles.count(Role.SUPERVISOR_CORE), 'MM Supervisor core')}, "
            f"{_some(roles.count(Role.BROKER), 'ring-3 broker')}, "
            f"{_some(len(policies), 'policy', 'policies')}, "
            f"{_some(drivers, 'MM_STANDALONE driver', 'MM_STANDALONE drivers')}"
        )
    if Role.STANDALONE_CORE in roles:
        yield "the core is another than the MM Supervisor's"
    traditional = roles.count(Role.TRADITIONAL_DRIVER) + roles.count(Role.COMBINED_DRIVER)
    if traditional or Role.TRADITIONAL_CORE in roles:
        core = " and their PI SMM core" if Role.TRADITIONAL_CORE in roles else ""
        drivers_text = _some(traditional, "traditional SMM driver", "traditional SMM drivers")
        yield f"{drivers_text}{core}"


def _some(count: int, one: str, many: str = "") -> str:
    if count == 0:
        return f"no {one}"
    return one if count == 1 and not many else f"{count} {one if count == 1 else many or one + 's'}"
