"""Dependency expressions (DEPEX): read, print, build, evaluate.

Sources: PI 1.8 vol. 2 §10.7 (grammar); docs/reference/boot-flow.md §6.2 (what the MM core makes of them).

================================  ==============================================================================
``parse_depex(reader)``           :class:`Depex`: ``instructions``, ``infix``, ``postfix``, ``flaws``, ``order``
``evaluate(depex, installed)``    as the MM core: :class:`Verdict` with value and reason
``read_by_specification(...)``    as the specification says
``can_be_true_without(...)``      check C4: could it run before a protocol is there?
``required_guids(depex)``         what it cannot do without
``parse_expression(text)``        text to :class:`Expression`; also ``Push(a) & ~Push(b)``, ``all_of(a, b)``
``encode(expression)``            expression to bytes; ``encode_before``, ``encode_after``
================================  ==============================================================================

>>> from mmsupervisor.pi.reader import Reader
>>> data = encode(parse_expression("gEfiMmCpuProtocolGuid AND (TRUE OR gEfiPcdProtocolGuid)"))
>>> parse_depex(Reader(data, "example")).infix
'gEfiMmCpuProtocolGuid AND (TRUE OR gEfiPcdProtocolGuid)'
"""

from mmsupervisor.pi.depex.evaluation import (
    Reason,
    SpecificationReading,
    Verdict,
    can_be_true,
    can_be_true_without,
    evaluate,
    read_by_specification,
    required_guids,
)
from mmsupervisor.pi.depex.expression import (
    FALSE,
    TRUE,
    And,
    Constant,
    DepexSyntaxError,
    Expression,
    Not,
    Opcode,
    Or,
    Push,
    all_of,
    encode,
    encode_after,
    encode_before,
    parse_expression,
)
from mmsupervisor.pi.depex.parsing import Depex, Instruction, Order, parse_depex

__all__ = [
    "FALSE",
    "TRUE",
    "And",
    "Constant",
    "Depex",
    "DepexSyntaxError",
    "Expression",
    "Instruction",
    "Not",
    "Opcode",
    "Or",
    "Order",
    "Push",
    "Reason",
    "SpecificationReading",
    "Verdict",
    "all_of",
    "can_be_true",
    "can_be_true_without",
    "encode",
    "encode_after",
    "encode_before",
    "evaluate",
    "parse_depex",
    "parse_expression",
    "read_by_specification",
    "required_guids",
]
