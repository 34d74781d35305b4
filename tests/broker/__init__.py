"""The broker, seen from the supervisor."""
