"""Going over a tree: volumes, files, sections, and what lies around each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmsupervisor.pi.volume.model import File, Node, Section, Volume
from mmsupervisor.pi.volume.problem import Problem

T_co = TypeVar("T_co", bound=Node, covariant=True)


@dataclass(frozen=True, slots=True)
class Place(Generic[T_co]):
    """A node and what it lies in.

    Attributes:
        node: The node.
        ancestors: What it lies in, outermost first.
    """

    node: T_co
    ancestors: tuple[Node, ...]

    @property
    def volume(self) -> Volume | None:
        """The innermost volume around the node."""
        return next((n for n in reversed(self.ancestors) if isinstance(n, Volume)), None)

    @property
    def file(self) -> File | None:
        """The innermost file around the node."""
        return next((n for n in reversed(self.ancestors) if isinstance(n, File)), None)

    @property
    def encapsulations(self) -> tuple[Section, ...]:
        """The sections that had to be opened to reach the node, outermost first; volume images are not among them."""
        return tuple(n for n in self.ancestors if isinstance(n, Section) and n.is_encapsulation)

    @property
    def is_top_level(self) -> bool:
        """Whether no section lies around the node: it stands in flash, in a volume of its own or as one."""
        return not any(isinstance(n, Section) for n in self.ancestors)

    @property
    def is_in_flash_as_it_is(self) -> bool:
        """Whether the node's bytes stand in the image as they are, so that nothing had to be decompressed."""
        return not any(section.is_transformed for section in self.encapsulations)


def walk(root: Node) -> Iterator[Place[Node]]:
    """All nodes below ``root`` and ``root`` itself, outer before inner, in the order of their offsets."""
    waiting: list[Place[Node]] = [Place(root, ())]
    while waiting:
        place = waiting.pop()
        yield place
        around = (*place.ancestors, place.node)
        waiting.extend(Place(child, around) for child in reversed(place.node.children))


def volumes(root: Node) -> Iterator[Place[Volume]]:
    """All volumes at or below ``root``, nested ones among them (see :attr:`Place.is_top_level`)."""
    for place in walk(root):
        if isinstance(place.node, Volume):
            yield Place(place.node, place.ancestors)


def files(root: Node, *types: int, deleted: bool = False) -> Iterator[Place[File]]:
    """All files at or below ``root``.

    Args:
        root: Where to start.
        types: File types wanted; none given: all, padding among them.
        deleted: Whether files that do not count (see :attr:`File.is_live`) are wanted too.
    """
    for place in walk(root):
        node = place.node
        if isinstance(node, File) and (not types or node.type in types) and (deleted or node.is_live):
            yield Place(node, place.ancestors)


def sections(root: Node, *types: int) -> Iterator[Place[Section]]:
    """All sections at or below ``root``, of the given types or of all."""
    for place in walk(root):
        if isinstance(place.node, Section) and (not types or place.node.type in types):
            yield Place(place.node, place.ancestors)


def unopened(root: Node) -> Iterator[Place[Section]]:
    """All sections whose content is missing in the tree; ``node.unopened`` says why."""
    return (place for place in sections(root) if place.node.unopened is not None)


def problems(root: Node) -> Iterator[Problem]:
    """All findings at or below ``root``."""
    for place in walk(root):
        yield from place.node.problems


def raise_damage(root: Node) -> None:
    """Be strict: refuse a tree in which anything breaks the format. Notes and unopened sections are no damage.

    Raises:
        FormatError: for the first finding that is damage.
    """
    for problem in problems(root):
        if problem.is_damage:
            raise problem.error()
