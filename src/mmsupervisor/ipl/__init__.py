"""PiSmmIpl: the launcher that places the core and hands MMRAM over to it."""
