"""XML as a tree with lines, by the parser that the standard library's ElementTree uses.

What ElementTree would give is what is here: names with a namespace are ``{namespace}name``, entities of the text are
resolved. Document type declarations are refused before anything in them is read, so that there are no entities but the
five of XML itself and nothing outside the file is ever touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from mmsupervisor.pi.errors import LimitError, SourceError
from mmsupervisor.pi.limits import Allowance


class XmlSyntaxError(SourceError):
    """Text that is not well-formed XML.

    Attributes:
        library_text: The parser's own words, as an ElementTree ParseError has them.
    """

    def __init__(self, file: str, line: int, library_text: str) -> None:
        """Record place and text; see the class."""
        self.library_text = library_text
        super().__init__(file, line, f"not XML: {library_text.rpartition(': line')[0] or library_text}")


@dataclass(slots=True)
class XmlElement:
    """An element.

    Attributes:
        tag: Its name.
        attributes: Its attributes, in the order of the file.
        line: Line of its start tag, counted from 1.
        children: Elements in it.
        text_line: Line of the first text in it that is not blank; 0 if there is none.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[XmlElement] = field(default_factory=list)
    text_line: int = 0

    def find(self, tag: str) -> XmlElement | None:
        """The first child of that name."""
        return next((child for child in self.children if child.tag == tag), None)

    def descendants(self) -> Iterator[XmlElement]:
        """All elements below this one, in the order of the file."""
        stack = list(reversed(self.children))
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))


class _RefusedError(Exception):
    """Leaves the parser with an error of ours."""

    def __init__(self, error: SourceError | LimitError) -> None:
        self.error = error


class _Builder:
    """Takes the parser's calls."""

    def __init__(self, file: str, allowance: Allowance) -> None:
        self._file = file
        self._allowance = allowance
        self._open: list[XmlElement] = []
        self.root: XmlElement | None = None
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.ordered_attributes = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._doctype

    @property
    def _line(self) -> int:
        return int(self.parser.CurrentLineNumber)

    def _start(self, name: str, attributes: list[str]) -> None:
        try:
            self._allowance.check_depth(len(self._open), self._file, self.parser.CurrentByteIndex)
            self._allowance.take_items(1, self._file, self.parser.CurrentByteIndex)
        except LimitError as error:
            raise _RefusedError(error) from error
        pairs = dict(zip(map(_full_name, attributes[::2]), attributes[1::2], strict=True))
        element = XmlElement(_full_name(name), pairs, self._line)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        if self._open and not self._open[-1].text_line and text.strip():
            self._open[-1].text_line = self._line

    def _doctype(self, *_: object) -> None:
        raise _RefusedError(SourceError(self._file, self._line, "a document type declaration, which is never read"))


def _full_name(name: str) -> str:
    return "{" + name if "}" in name else name


def read_xml_tree(data: bytes, file: str, allowance: Allowance | None = None) -> XmlElement:
    """Read an XML file.

    Args:
        data: Its bytes; the encoding is the one it declares.
        file: Its name in messages.
        allowance: Bounds for hostile input; every element is an item.

    Returns:
        The root element.

    Raises:
        XmlSyntaxError: it is not well-formed.
        SourceError: it has a document type declaration.
        LimitError: it holds more than the bounds allow, or is nested too deeply.
    """
    builder = _Builder(file, allowance or Allowance())
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlSyntaxError(file, error.lineno, str(error)) from error
    except _RefusedError as refused:
        raise refused.error from refused
    except (ValueError, LookupError) as error:  # an encoding that Python does not know, or of more than one byte
        raise XmlSyntaxError(file, 1, str(error)) from error
    if builder.root is None:
        raise XmlSyntaxError(file, 1, "no element found")
    return builder.root
