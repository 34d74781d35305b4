/*
 * HobReader: walks the hand-off block list, which ring 3 gets by system call 0x1001B and may only read
 * (docs/reference/boot-flow.md section 3, docs/reference/gmmst.md section 7), and reports what is in it.
 */
#include <mm/hob.h>

#include "../sample.h"

typedef struct {
  UINT64 Status;
  UINT64 List;     /* address of the first block */
  UINT64 Bytes;    /* of all blocks, the end block included */
  UINT32 Blocks;   /* the end block not counted */
  UINT32 Sum;      /* of all these bytes */
  UINT32 Kinds[8]; /* hand-off, allocation, resource, GUID, volume, CPU, resource version 2, any other */
} HOB_READER_MESSAGE;

MM_STATIC_ASSERT(sizeof(HOB_READER_MESSAGE) == 64);

static UINTN KindOf(UINT16 Type) {
  if (Type == EFI_HOB_TYPE_RESOURCE_DESCRIPTOR2) {
    return 6;
  }
  return Type >= EFI_HOB_TYPE_HANDOFF && Type <= EFI_HOB_TYPE_CPU ? Type - 1u : 7;
}

static void Add(HOB_READER_MESSAGE *Message, const EFI_HOB_GENERIC_HEADER *Hob) {
  const UINT8 *Bytes = (const UINT8 *)Hob;

  for (UINTN Index = 0; Index < Hob->HobLength; Index++) {
    Message->Sum += Bytes[Index];
  }
  Message->Bytes += Hob->HobLength;
}

static EFI_STATUS Walk(HOB_READER_MESSAGE *Message) {
  const EFI_HOB_GENERIC_HEADER *Hob = MmHobList();

  Message->List = (UINTN)Hob;
  if (Hob == NULL) {
    return EFI_NOT_FOUND;
  }
  for (; Hob->HobType != EFI_HOB_TYPE_END_OF_HOB_LIST;
       Hob = (const EFI_HOB_GENERIC_HEADER *)((const UINT8 *)Hob + Hob->HobLength)) {
    if (Hob->HobLength < sizeof *Hob) {
      return EFI_COMPROMISED_DATA;
    }
    Message->Blocks++;
    Message->Kinds[KindOf(Hob->HobType)]++;
    Add(Message, Hob);
  }
  Add(Message, Hob);
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI HobReaderHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                          UINTN *CommBufferSize) {
  HOB_READER_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  *Message = (HOB_READER_MESSAGE){0};
  Message->Status = Walk(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(HobReaderHandler, &gSampleHobReaderHandlerGuid, NULL);
}
