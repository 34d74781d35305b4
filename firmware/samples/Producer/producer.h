/* The protocol that the Producer installs and the Consumer uses. */
#ifndef PRODUCER_H
#define PRODUCER_H

#include <mm/base.h>

typedef struct {
  UINT64 Version; /* 1 */
  EFI_STATUS(EFIAPI *Add)(UINT64 Left, UINT64 Right, UINT64 *Sum);
} SAMPLE_PRODUCER_PROTOCOL;

#endif
