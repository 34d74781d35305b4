"""What an image holds for management mode, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmsupervisor.inventory.model import ExecutableReport, ModuleReport, PolicyReport, Role
from mmsupervisor.pi.container import ContainerKind, Image

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


def summarise(
    image: Image,
    executable: ExecutableReport | None,
    modules: Sequence[ModuleReport],
    policies: Sequence[PolicyReport],
    unopened: int,
) -> tuple[str, ...]:
    """Say what matters, one clause a line.

    Args:
        image: The input.
        executable: Its description, for an input that is nothing but an image.
        modules: All modules.
        policies: All policies.
        unopened: Number of sections that could not be opened.
    """
    if image.kind in NOT_FIRMWARE:
        return ("no firmware: there is nothing in it for management mode",)
    if executable is not None:
        return ("one image without the file around it, which would say what kind of driver it is",)
    if image.kind is ContainerKind.VARIABLE_STORE:
        return ("a variable store: UEFI variables, no files and no drivers",)
    return tuple(_of_modules(modules, policies, unopened))


def _of_modules(modules: Sequence[ModuleReport], policies: Sequence[PolicyReport], unopened: int) -> Iterator[str]:
    if unopened:
        sections = "a section" if unopened == 1 else f"{unopened} sections"
        yield f"{sections} could not be opened: what is in there is not in this report"
    if not modules:
        yield "no MM drivers in what could be opened" if unopened else "no MM drivers in this image"
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
