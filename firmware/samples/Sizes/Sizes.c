/*
 * Sizes: returns another size than it was given. What of that reaches the sender: docs/reference/communicate.md
 * section 3, steps 8 to 10, and section 3.1.
 */
#include "../sample.h"

typedef struct {
  UINT64 Status;
  UINT64 Received; /* out: the payload's size as the handler saw it */
  UINT64 Size;     /* in: what to return as the payload's size */
  UINT8  Data[];   /* out: byte n is n modulo 256, as far as Size says and the buffer reaches */
} SIZES_MESSAGE;

MM_STATIC_ASSERT(sizeof(SIZES_MESSAGE) == 24);

static EFI_STATUS EFIAPI SizesHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                      UINTN *CommBufferSize) {
  SIZES_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = EFI_SUCCESS;
  Message->Received = *CommBufferSize;
  if (Message->Size > sizeof *Message && MmCommBufferValid((UINTN)CommBuffer, Message->Size)) {
    for (UINTN Index = 0; Index < Message->Size - sizeof *Message; Index++) {
      Message->Data[Index] = (UINT8)Index;
    }
  }
  *CommBufferSize = Message->Size;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(SizesHandler, &gSampleSizesHandlerGuid, NULL);
}
