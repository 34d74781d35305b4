"""A platform description and a firmware image, wired together."""
