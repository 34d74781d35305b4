"""The tests; a package so that they may share what is in ``tests.support``."""
