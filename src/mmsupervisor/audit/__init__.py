"""Looks at what a run does and leaves behind, without changing it: the audit of handlers, and that of pages."""
