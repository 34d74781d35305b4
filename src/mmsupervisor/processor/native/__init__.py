"""Ring 3 in a Linux process of its own: the host's processor executes it, the kernel's seccomp filter contains it.

The process (the *stub*) holds nothing but the machine's memory at its own addresses, one page of code, a page of orders
it cannot write, and the area where the kernel leaves registers. How it works and why: docs/decisions/0004-native.md.
"""
