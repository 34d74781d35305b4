/* Included before every C source: all symbols of a module are its own, so addresses need no indirection. */
#pragma GCC visibility push(hidden)
