"""MM Supervisor in Python: management mode run, policed and explained on an ordinary computer."""

__version__ = "0.1.0"
