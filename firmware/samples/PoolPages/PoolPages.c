/*
 * PoolPages: the memory services of gMmst, one step per message: what they give, and every error that comes back as
 * a status (docs/reference/gmmst.md sections 3 and 4). Most page errors never come back: those are the Offender's.
 */
#include "../sample.h"

typedef enum {
  PoolSmall = 0x01,
  PoolZero,
  PoolPage,
  PoolBuckets,
  PoolBucketEdges,
  PoolType,
  PoolOverflow,
  PoolFreeNull,
  PoolFreeTwice,
  PoolFreeHead,
  PoolFreeTail,
  PoolCode,
  PagesThree = 0x21,
  PagesDescending,
  PagesNull,
  PagesFreePart
} POOL_PAGES_CASE;

/* In front of every pool block, and behind it. */
typedef struct {
  UINT32 Signature;
  UINT8  Available;
  UINT32 Type;
  UINT64 Size;
} POOL_HEAD;

typedef struct {
  UINT32 Signature;
  UINT32 Reserved;
  UINT64 Size;
} POOL_TAIL;

MM_STATIC_ASSERT(sizeof(POOL_HEAD) == 24);
MM_STATIC_ASSERT(sizeof(POOL_TAIL) == 16);

static POOL_HEAD *HeadOf(void *Pool) { return (POOL_HEAD *)Pool - 1; }

static POOL_TAIL *TailOf(void *Pool) {
  POOL_HEAD *Head = HeadOf(Pool);

  return (POOL_TAIL *)((UINT8 *)Head + Head->Size) - 1;
}

/* Value 0: the pointer, 1: its low four bits, 2: its offset in the page, 3: the block's size. */
static EFI_STATUS AllocateOne(SAMPLE_STEP_MESSAGE *Message, UINTN Size) {
  void      *Pool = NULL;
  EFI_STATUS Status = gMmst->MmAllocatePool(EfiRuntimeServicesData, Size, &Pool);

  if (EFI_ERROR(Status)) {
    return Status;
  }
  Message->Value[0] = (UINTN)Pool;
  Message->Value[1] = (UINTN)Pool & 0xF;
  Message->Value[2] = (UINTN)Pool & 0xFFF;
  Message->Value[3] = HeadOf(Pool)->Size;
  return gMmst->MmFreePool(Pool);
}

/* Value n: the size of the block that a payload of the n-th size lies in. */
static EFI_STATUS BlockSizes(SAMPLE_STEP_MESSAGE *Message, const UINT16 *Sizes) {
  for (UINTN Index = 0; Index < ARRAY_COUNT(Message->Value); Index++) {
    void      *Pool = NULL;
    EFI_STATUS Status = gMmst->MmAllocatePool(EfiRuntimeServicesData, Sizes[Index], &Pool);

    if (EFI_ERROR(Status)) {
      return Status;
    }
    Message->Value[Index] = HeadOf(Pool)->Size;
    gMmst->MmFreePool(Pool);
  }
  return EFI_SUCCESS;
}

/* Frees a block whose signature was zeroed, mends it and frees it; the status is that of the first attempt. */
static EFI_STATUS FreeDamaged(SAMPLE_STEP_MESSAGE *Message) {
  void      *Pool = MmAllocate(16);
  UINT32    *Signature;
  UINT32     Saved;
  EFI_STATUS Status;

  if (Pool == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  Signature = Message->Case == PoolFreeHead ? &HeadOf(Pool)->Signature : &TailOf(Pool)->Signature;
  Saved = *Signature;
  Message->Value[0] = Saved;
  *Signature = 0;
  Status = gMmst->MmFreePool(Pool);
  *Signature = Saved;
  Message->Value[1] = gMmst->MmFreePool(Pool);
  return Status;
}

static EFI_STATUS FreeTwice(void) {
  void *Pool = MmAllocate(16);

  if (Pool == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  MmFree(Pool);
  return gMmst->MmFreePool(Pool);
}

static EFI_STATUS Pool(SAMPLE_STEP_MESSAGE *Message) {
  static const UINT16 Full[] = {24, 88, 216, 472, 984, 2008};
  static const UINT16 OneMore[] = {25, 89, 217, 473, 985, 2009};
  void               *Unused = NULL;

  switch (Message->Case) {
  case PoolSmall:
    return AllocateOne(Message, 16);
  case PoolZero:
    return AllocateOne(Message, 0);
  case PoolPage:
    return AllocateOne(Message, 0x3000);
  case PoolBuckets:
    return BlockSizes(Message, Full);
  case PoolBucketEdges:
    return BlockSizes(Message, OneMore);
  case PoolType:
    return gMmst->MmAllocatePool(EfiBootServicesData, 16, &Unused);
  case PoolCode:
    return gMmst->MmAllocatePool(EfiRuntimeServicesCode, 16, &Unused);
  case PoolOverflow:
    return gMmst->MmAllocatePool(EfiRuntimeServicesData, ~(UINTN)0, &Unused);
  case PoolFreeNull:
    return gMmst->MmFreePool(NULL);
  case PoolFreeTwice:
    return FreeTwice();
  case PoolFreeHead:
  case PoolFreeTail:
    return FreeDamaged(Message);
  default:
    return EFI_UNSUPPORTED;
  }
}

/* Value 0: the address; every page is written and read back. */
static EFI_STATUS ThreePages(SAMPLE_STEP_MESSAGE *Message) {
  EFI_PHYSICAL_ADDRESS Pages = 0;
  EFI_STATUS           Status = gMmst->MmAllocatePages(AllocateAnyPages, EfiRuntimeServicesData, 3, &Pages);

  if (EFI_ERROR(Status)) {
    return Status;
  }
  Message->Value[0] = Pages;
  for (UINTN Index = 0; Index < 3; Index++) {
    volatile UINT64 *Word = (volatile UINT64 *)(Pages + Index * EFI_PAGE_SIZE);

    *Word = 0x1122334455667788ULL + Index;
    Message->Value[1] += *Word;
  }
  return gMmst->MmFreePages(Pages, 3);
}

/* Values 0 and 1: two allocations in a row, the second below the first. */
static EFI_STATUS Descending(SAMPLE_STEP_MESSAGE *Message) {
  for (UINTN Index = 0; Index < 2; Index++) {
    EFI_STATUS Status =
        gMmst->MmAllocatePages(AllocateAnyPages, EfiRuntimeServicesData, 1, &Message->Value[Index]);

    if (EFI_ERROR(Status)) {
      return Status;
    }
  }
  gMmst->MmFreePages(Message->Value[1], 1);
  return gMmst->MmFreePages(Message->Value[0], 1);
}

/* The middle page of three goes first; value 0: the address of all three. */
static EFI_STATUS FreePart(SAMPLE_STEP_MESSAGE *Message) {
  EFI_STATUS Status = gMmst->MmAllocatePages(AllocateAnyPages, EfiRuntimeServicesData, 3, &Message->Value[0]);

  if (EFI_ERROR(Status)) {
    return Status;
  }
  Status = gMmst->MmFreePages(Message->Value[0] + EFI_PAGE_SIZE, 1);
  gMmst->MmFreePages(Message->Value[0], 1);
  gMmst->MmFreePages(Message->Value[0] + 2 * EFI_PAGE_SIZE, 1);
  return Status;
}

static EFI_STATUS Pages(SAMPLE_STEP_MESSAGE *Message) {
  switch (Message->Case) {
  case PagesThree:
    return ThreePages(Message);
  case PagesDescending:
    return Descending(Message);
  case PagesNull:
    return gMmst->MmAllocatePages(AllocateAnyPages, EfiRuntimeServicesData, 1, NULL);
  case PagesFreePart:
    return FreePart(Message);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI PoolPagesHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                          UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Message->Case < PagesThree ? Pool(Message) : Pages(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(PoolPagesHandler, &gSamplePoolPagesHandlerGuid, NULL);
}
