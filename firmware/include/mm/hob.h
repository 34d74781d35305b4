/*
 * Hand-off blocks, PI 1.8 volume 3, and the few bodies that drivers of this design read:
 * docs/reference/boot-flow.md section 3.1, docs/reference/communicate.md section 2.
 */
#ifndef MM_HOB_H
#define MM_HOB_H

#include <mm/base.h>

#define EFI_HOB_TYPE_HANDOFF              0x0001
#define EFI_HOB_TYPE_MEMORY_ALLOCATION    0x0002
#define EFI_HOB_TYPE_RESOURCE_DESCRIPTOR  0x0003
#define EFI_HOB_TYPE_GUID_EXTENSION       0x0004
#define EFI_HOB_TYPE_FV                   0x0005
#define EFI_HOB_TYPE_CPU                  0x0006
#define EFI_HOB_TYPE_RESOURCE_DESCRIPTOR2 0x000D
#define EFI_HOB_TYPE_END_OF_HOB_LIST      0xFFFF

typedef struct {
  UINT16 HobType;
  UINT16 HobLength;
  UINT32 Reserved;
} EFI_HOB_GENERIC_HEADER;

typedef struct {
  EFI_HOB_GENERIC_HEADER Header;
  UINT32                 Version;
  UINT32                 BootMode;
  EFI_PHYSICAL_ADDRESS   EfiMemoryTop;
  EFI_PHYSICAL_ADDRESS   EfiMemoryBottom;
  EFI_PHYSICAL_ADDRESS   EfiFreeMemoryTop;
  EFI_PHYSICAL_ADDRESS   EfiFreeMemoryBottom;
  EFI_PHYSICAL_ADDRESS   EfiEndOfHobList;
} EFI_HOB_HANDOFF_INFO_TABLE;

typedef struct {
  EFI_HOB_GENERIC_HEADER Header;
  EFI_GUID               Name;
  EFI_PHYSICAL_ADDRESS   MemoryBaseAddress;
  UINT64                 MemoryLength;
  UINT32                 MemoryType;
  UINT8                  Reserved[4];
  EFI_GUID               ModuleName;
  EFI_PHYSICAL_ADDRESS   EntryPoint;
} EFI_HOB_MEMORY_ALLOCATION_MODULE;

typedef struct {
  EFI_HOB_GENERIC_HEADER Header;
  EFI_GUID               Owner;
  UINT32                 ResourceType;
  UINT32                 ResourceAttribute;
  EFI_PHYSICAL_ADDRESS   PhysicalStart;
  UINT64                 ResourceLength;
} EFI_HOB_RESOURCE_DESCRIPTOR;

typedef struct {
  EFI_HOB_GENERIC_HEADER Header;
  EFI_GUID               Name;
  /* data follows */
} EFI_HOB_GUID_TYPE;

typedef struct {
  EFI_HOB_GENERIC_HEADER Header;
  EFI_PHYSICAL_ADDRESS   BaseAddress;
  UINT64                 Length;
} EFI_HOB_FIRMWARE_VOLUME;

MM_STATIC_ASSERT(sizeof(EFI_HOB_GENERIC_HEADER) == 0x08);
MM_STATIC_ASSERT(sizeof(EFI_HOB_HANDOFF_INFO_TABLE) == 0x38);
MM_STATIC_ASSERT(sizeof(EFI_HOB_MEMORY_ALLOCATION_MODULE) == 0x48);
MM_STATIC_ASSERT(sizeof(EFI_HOB_RESOURCE_DESCRIPTOR) == 0x30);
MM_STATIC_ASSERT(sizeof(EFI_HOB_GUID_TYPE) == 0x18);
MM_STATIC_ASSERT(sizeof(EFI_HOB_FIRMWARE_VOLUME) == 0x18);

/* Body of gMmCommBufferHobGuid. */
typedef struct {
  EFI_PHYSICAL_ADDRESS PhysicalStart;
  UINT64               NumberOfPages;
  EFI_PHYSICAL_ADDRESS Status;
} MM_COMM_BUFFER;

MM_STATIC_ASSERT(sizeof(MM_COMM_BUFFER) == 24);

/* Body of gMmMemoryProtectionSettingsGuid. */
typedef struct {
  UINT8  StructVersion;
  UINT8  NullPointerDetection;
  UINT8  HeapGuard; /* MM_HEAP_GUARD_* */
  UINT8  Padding;
  UINT32 PoolTypes; /* bit n: EFI memory type n */
  UINT32 PageTypes;
} MM_MEMORY_PROTECTION_SETTINGS;

MM_STATIC_ASSERT(sizeof(MM_MEMORY_PROTECTION_SETTINGS) == 12);
MM_STATIC_ASSERT(offsetof(MM_MEMORY_PROTECTION_SETTINGS, PoolTypes) == 4);

#define MM_MEMORY_PROTECTION_VERSION 2
#define MM_HEAP_GUARD_PAGE           0x01
#define MM_HEAP_GUARD_POOL           0x02
#define MM_HEAP_GUARD_HEAD           0x04 /* clear: the payload ends at the guard (tail) */

/* First hand-off block of the list that the supervisor shares read-only, or NULL. Asked for once, at start. */
const EFI_HOB_GENERIC_HEADER *MmHobList(void);

/* The GUID extension block named by Guid that comes after From (NULL: from the start of the list), or NULL. */
const EFI_HOB_GUID_TYPE *MmNextGuidHob(const EFI_GUID *Guid, const EFI_HOB_GUID_TYPE *From);

/* The data of a GUID extension block, and how many bytes the block holds (a multiple of 8, padding included). */
static inline const void *MmGuidHobData(const EFI_HOB_GUID_TYPE *Hob) { return Hob + 1; }
static inline UINTN MmGuidHobDataSize(const EFI_HOB_GUID_TYPE *Hob) { return Hob->Header.HobLength - sizeof *Hob; }

#endif
