"""What there is to know of one kind of finding; the tables are in the modules beside this one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FindingKind:
    """One kind of finding.

    Attributes:
        number: Stable identifier, for example ``MM-1001``.
        title: Its name, a few words.
        meaning: What it means, one sentence.
        mend: What to change, one sentence.
        text: More about it, for its page in ``docs/findings/``: paragraphs of Markdown.
        wrong: An example of what leads to it: C, or another text.
        right: The same, mended.
        facts: Where the fact sheets under ``docs/reference/`` tell of it.
        sample: The shipped sample driver that shows it, or empty where none can.
        case: What that sample must be told, by its ``sample.toml``, or empty if it is enough to start it.
        values: Fields of the message beside the case's own, by name.
        stands_still: Whether a device stands still there, without a report and without a reset.
    """

    number: str
    title: str
    meaning: str
    mend: str
    text: str
    wrong: str
    right: str
    facts: tuple[str, ...]
    sample: str = ""
    case: str = ""
    values: tuple[tuple[str, int], ...] = ()
    stands_still: bool = False

    @property
    def page(self) -> str:
        """Its page, relative to the folder of the documentation."""
        return f"findings/{self.number}.md"
