/* See mm/runtime.h. Plain loops: compiled so that the compiler does not turn them into calls of themselves. */
#include <mm/runtime.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t count) {
  UINT8       *to = destination;
  const UINT8 *from = source;

  for (size_t index = 0; index < count; index++) {
    to[index] = from[index];
  }
  return destination;
}

void *memmove(void *destination, const void *source, size_t count) {
  UINT8       *to = destination;
  const UINT8 *from = source;

  if (to <= from) {
    for (size_t index = 0; index < count; index++) {
      to[index] = from[index];
    }
  } else {
    while (count-- > 0) {
      to[count] = from[count];
    }
  }
  return destination;
}

void *memset(void *destination, int value, size_t count) {
  UINT8 *to = destination;

  for (size_t index = 0; index < count; index++) {
    to[index] = (UINT8)value;
  }
  return destination;
}

int memcmp(const void *left, const void *right, size_t count) {
  const UINT8 *a = left;
  const UINT8 *b = right;

  for (size_t index = 0; index < count; index++) {
    if (a[index] != b[index]) {
      return a[index] - b[index];
    }
  }
  return 0;
}

BOOLEAN MmGuidEqual(const EFI_GUID *Left, const EFI_GUID *Right) {
  return (BOOLEAN)(memcmp(Left, Right, sizeof *Left) == 0);
}
