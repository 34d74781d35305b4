/* Pool: docs/reference/gmmst.md section 3. Buckets of doubling size, each in front of and behind a signature. */
#include <mm/guids.h>
#include <mm/hob.h>
#include <mm/runtime.h>

#include "broker.h"
#include "list.h"

#define POOL_HEAD_SIGNATURE SIGNATURE_32('s', 'p', 'h', 'd')
#define POOL_TAIL_SIGNATURE SIGNATURE_32('s', 'p', 't', 'l')

typedef struct {
  UINT32  Signature;
  BOOLEAN Available;
  UINT32  Type;
  UINT64  Size; /* of the whole block */
} POOL_HEADER;

typedef struct {
  UINT32 Signature;
  UINT32 Reserved;
  UINT64 Size;
} POOL_TAIL;

/* A free block: the list runs through what was payload. */
typedef struct {
  POOL_HEADER Header;
  LIST_ENTRY  Link;
} FREE_BLOCK;

MM_STATIC_ASSERT(sizeof(POOL_HEADER) == 24 && offsetof(POOL_HEADER, Type) == 8 && offsetof(POOL_HEADER, Size) == 16);
MM_STATIC_ASSERT(sizeof(POOL_TAIL) == 16 && offsetof(POOL_TAIL, Size) == 8);

#define POOL_OVERHEAD (sizeof(POOL_HEADER) + sizeof(POOL_TAIL))
#define BUCKET_COUNT  6
#define BUCKET_SIZE(index) (64ULL << (index))
#define LARGEST_BUCKET     BUCKET_SIZE(BUCKET_COUNT - 1)

MM_STATIC_ASSERT(BUCKET_SIZE(BUCKET_COUNT) == EFI_PAGE_SIZE);

/* One row for each of the two types that pool may have. */
#define TYPE_ROW(type) ((type) - EfiRuntimeServicesCode)
static LIST_ENTRY mFree[2][BUCKET_COUNT];

/* The platform's heap guard, all zero without one. */
static MM_MEMORY_PROTECTION_SETTINGS mGuard;

static void ReadGuardSettings(void) {
  const EFI_HOB_GUID_TYPE *Hob = MmNextGuidHob(&gMmMemoryProtectionSettingsGuid, NULL);

  if (Hob != NULL && MmGuidHobDataSize(Hob) >= sizeof mGuard) {
    memcpy(&mGuard, MmGuidHobData(Hob), sizeof mGuard);
    if (mGuard.StructVersion != MM_MEMORY_PROTECTION_VERSION) {
      memset(&mGuard, 0, sizeof mGuard);
    }
  }
}

void PoolStart(void) {
  for (UINTN row = 0; row < ARRAY_COUNT(mFree); row++) {
    for (UINTN index = 0; index < BUCKET_COUNT; index++) {
      ListInitialise(&mFree[row][index]);
    }
  }
  ReadGuardSettings();
}

static BOOLEAN IsPoolType(UINT32 Type) {
  return (BOOLEAN)(Type == EfiRuntimeServicesCode || Type == EfiRuntimeServicesData);
}

static BOOLEAN GuardIsOn(void) { return (BOOLEAN)((mGuard.HeapGuard & MM_HEAP_GUARD_POOL) != 0); }

static BOOLEAN GuardIsAtTail(void) { return (BOOLEAN)(GuardIsOn() && (mGuard.HeapGuard & MM_HEAP_GUARD_HEAD) == 0); }

static BOOLEAN TypeIsGuarded(EFI_MEMORY_TYPE PoolType) {
  return (BOOLEAN)(GuardIsOn() && (mGuard.PoolTypes >> PoolType & 1) != 0);
}

static POOL_TAIL *TailOf(POOL_HEADER *Header) {
  return (POOL_TAIL *)((UINT8 *)Header + Header->Size - sizeof(POOL_TAIL));
}

static void *HandOut(POOL_HEADER *Header, EFI_MEMORY_TYPE PoolType, UINT64 Size, BOOLEAN WithTail) {
  Header->Signature = POOL_HEAD_SIGNATURE;
  Header->Available = FALSE;
  Header->Type = PoolType;
  Header->Size = Size;
  if (WithTail) {
    *TailOf(Header) = (POOL_TAIL){POOL_TAIL_SIGNATURE, 0, Size};
  }
  return Header + 1;
}

/* Page-sized and larger blocks, and every block of a guarded type. Size includes header and tail. */
static EFI_STATUS AllocateWholePages(EFI_MEMORY_TYPE PoolType, UINTN Size, void **Buffer) {
  BOOLEAN              AtTail = (BOOLEAN)(TypeIsGuarded(PoolType) && GuardIsAtTail());
  UINTN                Needed = AtTail ? Size - sizeof(POOL_TAIL) : Size;
  UINTN                Pages = EFI_SIZE_TO_PAGES(Needed);
  EFI_PHYSICAL_ADDRESS Address;
  EFI_STATUS           Status = BrokerAllocatePages(AllocateAnyPages, PoolType, Pages, &Address);

  if (EFI_ERROR(Status)) {
    return Status;
  }
  if (AtTail) { /* the payload ends where the guard page begins, give or take its alignment */
    Address += EFI_PAGES_TO_SIZE(Pages) - ((Needed + 7) & ~7ULL);
  }
  *Buffer = HandOut((POOL_HEADER *)Address, PoolType, EFI_PAGES_TO_SIZE(Pages), (BOOLEAN)!AtTail);
  return EFI_SUCCESS;
}

static void PutFree(FREE_BLOCK *Block, EFI_MEMORY_TYPE PoolType, UINTN Index) {
  Block->Header.Signature = 0; /* a second free finds no signature */
  Block->Header.Available = TRUE;
  Block->Header.Type = PoolType;
  Block->Header.Size = BUCKET_SIZE(Index);
  ListInsertHead(&mFree[TYPE_ROW(PoolType)][Index], &Block->Link);
}

/* A block of a bucket: from its list, else the upper half of the next bigger one; past the biggest, a page. */
static EFI_STATUS TakeBlock(EFI_MEMORY_TYPE PoolType, UINTN Index, void **Block) {
  UINTN                From = Index;
  UINT8               *Found;
  EFI_PHYSICAL_ADDRESS Page;

  while (From < BUCKET_COUNT && ListIsEmpty(&mFree[TYPE_ROW(PoolType)][From])) {
    From++;
  }
  if (From < BUCKET_COUNT) {
    FREE_BLOCK *First = LIST_OWNER(mFree[TYPE_ROW(PoolType)][From].ForwardLink, FREE_BLOCK, Link);

    ListRemove(&First->Link);
    Found = (UINT8 *)First;
  } else {
    EFI_STATUS Status = BrokerAllocatePages(AllocateAnyPages, PoolType, 1, &Page);

    if (EFI_ERROR(Status)) {
      return Status;
    }
    Found = (UINT8 *)Page;
  }

  for (; From > Index; From--) {
    PutFree((FREE_BLOCK *)Found, PoolType, From - 1);
    Found += BUCKET_SIZE(From - 1);
  }
  *Block = Found;
  return EFI_SUCCESS;
}

static UINTN BucketFor(UINTN Size) {
  UINTN Index = 0;

  while (BUCKET_SIZE(Index) < Size) {
    Index++;
  }
  return Index;
}

EFI_STATUS EFIAPI BrokerAllocatePool(EFI_MEMORY_TYPE PoolType, UINTN Size, void **Buffer) {
  UINTN      Index;
  void      *Block;
  EFI_STATUS Status;

  if (!IsPoolType(PoolType)) {
    return EFI_INVALID_PARAMETER;
  }
  if (Size > UINT64_MAX - POOL_OVERHEAD) {
    return EFI_OUT_OF_RESOURCES;
  }
  Size += POOL_OVERHEAD;
  if (Size > LARGEST_BUCKET || TypeIsGuarded(PoolType)) {
    return AllocateWholePages(PoolType, Size, Buffer);
  }

  Index = BucketFor(Size);
  Status = TakeBlock(PoolType, Index, &Block);
  if (!EFI_ERROR(Status)) {
    *Buffer = HandOut(Block, PoolType, BUCKET_SIZE(Index), TRUE);
  }
  return Status;
}

/* Whether a size can be that of a block: what passes may be indexed with. */
static BOOLEAN IsBlockSize(UINT64 Size) {
  return (BOOLEAN)(Size > LARGEST_BUCKET ? Size % EFI_PAGE_SIZE == 0 : Size == BUCKET_SIZE(BucketFor(Size)));
}

/* Whether the header, and the tail where there is one, are as they were handed out. */
static BOOLEAN IsIntact(POOL_HEADER *Header) {
  const POOL_TAIL *Tail;

  if (Header->Signature != POOL_HEAD_SIGNATURE || !IsPoolType(Header->Type) || !IsBlockSize(Header->Size)) {
    return FALSE;
  }
  if (GuardIsAtTail()) {
    return TRUE; /* tails of unguarded types are there but, as on the device, not looked at */
  }
  Tail = TailOf(Header);
  return (BOOLEAN)(Tail->Signature == POOL_TAIL_SIGNATURE && Tail->Size == Header->Size);
}

EFI_STATUS EFIAPI BrokerFreePool(void *Buffer) {
  POOL_HEADER *Header;

  if (Buffer == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  Header = (POOL_HEADER *)Buffer - 1;
  if (!IsIntact(Header)) {
    return EFI_INVALID_PARAMETER;
  }

  if (Header->Size > LARGEST_BUCKET) { /* a header at the tail lies in the first page, too */
    return BrokerFreePages((UINTN)Header & ~(EFI_PAGE_SIZE - 1), EFI_SIZE_TO_PAGES(Header->Size));
  }
  PutFree((FREE_BLOCK *)Header, Header->Type, BucketFor(Header->Size));
  return EFI_SUCCESS;
}

void *PoolAllocateZero(UINTN Size) {
  void *Buffer = NULL;

  if (EFI_ERROR(BrokerAllocatePool(EfiRuntimeServicesData, Size, &Buffer))) {
    return NULL;
  }
  return memset(Buffer, 0, Size);
}
