"""What a firmware image holds for management mode, as a report: values that a program can use and a command renders.

===================================  ==============================================================================
``survey(source, limits)``           :class:`~mmsupervisor.inventory.model.ImageReport` of a file or of bytes
``document(reports)``                the reports as plain data for JSON, ``docs/schemas/info.schema.json``
``write_payloads(report, folder)``   images, dependency expressions and policies as files of their own
``checks.CHECKS``                    every check that a report's remarks come from
===================================  ==============================================================================

Modules: ``model`` (the report), ``survey`` (from the tree of :mod:`mmsupervisor.pi.container` to the report),
``modules`` and ``executables`` (what concerns one driver), ``policies``, ``checks`` (remarks), ``payloads``.
"""
