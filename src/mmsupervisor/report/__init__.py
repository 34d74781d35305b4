"""What became of a session, as one model: text and JSON of ``mmsup run``, ``boot`` and ``send`` come from it.

API: :func:`~mmsupervisor.report.build.build_report` makes a :class:`~mmsupervisor.report.model.SessionReport`,
:func:`~mmsupervisor.report.document.document` makes plain data of it.
"""
