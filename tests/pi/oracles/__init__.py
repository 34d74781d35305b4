"""Other people's readers of firmware volumes, made comparable with ours.

Each oracle flattens an image into records keyed by a path of offsets, so that trees can be compared even if one side
lacks a node: ``v0`` is a volume at offset 0 of the image, ``v0/f48`` a file at offset 0x48 of it, ``v0/f48/s0/s10`` a
section inside another.
"""
