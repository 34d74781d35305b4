/*
 * Messages from outside: docs/reference/communicate.md section 1, UEFI PI 1.8 volume 4. A handler receives the
 * data after the header; the headers are here for drivers that look in front of it, and for tools.
 */
#ifndef MM_COMMUNICATE_H
#define MM_COMMUNICATE_H

#include <mm/base.h>

#pragma pack(push, 1)

typedef struct {
  EFI_GUID HeaderGuid;
  UINT64   MessageLength;
  UINT8    Data[1];
} EFI_MM_COMMUNICATE_HEADER;

typedef struct {
  EFI_GUID HeaderGuid; /* gEfiMmCommunicateHeaderV3Guid */
  UINT64   BufferSize; /* whole buffer, this header included */
  UINT64   Reserved;
  EFI_GUID MessageGuid;
  UINT64   MessageSize;
  UINT8    MessageData[];
} EFI_MM_COMMUNICATE_HEADER_V3;

#pragma pack(pop)

#define MM_COMMUNICATE_HEADER_SIZE offsetof(EFI_MM_COMMUNICATE_HEADER, Data)

MM_STATIC_ASSERT(MM_COMMUNICATE_HEADER_SIZE == 0x18);
MM_STATIC_ASSERT(sizeof(EFI_MM_COMMUNICATE_HEADER) == 0x19);
MM_STATIC_ASSERT(sizeof(EFI_MM_COMMUNICATE_HEADER_V3) == 0x38);

#endif
