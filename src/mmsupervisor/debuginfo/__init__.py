"""What is known of a driver's code beside its bytes: names, source lines, and how to walk its stack.

API: :func:`~mmsupervisor.debuginfo.read.read_symbols` reads a file of any form into
:class:`~mmsupervisor.debuginfo.symbols.Symbols`; :func:`~mmsupervisor.debuginfo.unwind.unwind` makes a call stack;
:func:`~mmsupervisor.debuginfo.disassembly.disassemble_around` shows the code at a place.
"""
