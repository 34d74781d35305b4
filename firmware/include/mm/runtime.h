/* What the compiler expects of a C library, and GUID helpers: lib/runtime.c. Nothing here allocates. */
#ifndef MM_RUNTIME_H
#define MM_RUNTIME_H

#include <mm/base.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t count);
void *memmove(void *destination, const void *source, size_t count);
void *memset(void *destination, int value, size_t count);
int memcmp(const void *left, const void *right, size_t count);

BOOLEAN MmGuidEqual(const EFI_GUID *Left, const EFI_GUID *Right);

#endif
