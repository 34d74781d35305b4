/*
 * StatusReturner: two handlers for one GUID, which return what the message says. What the dispatch makes of their
 * statuses, and whether the second runs: docs/reference/boot-flow.md section 10.2. The sender sees only success or
 * "not found".
 */
#include "../sample.h"

typedef struct {
  UINT64 Status;
  UINT64 Return[2]; /* in: what the first and the second handler return */
  UINT64 Calls[2];  /* out: calls of each since boot */
} STATUS_MESSAGE;

MM_STATIC_ASSERT(sizeof(STATUS_MESSAGE) == 40);

static UINT64 mCalls[2];

static EFI_STATUS Answer(UINTN Which, void *CommBuffer, const UINTN *CommBufferSize) {
  STATUS_MESSAGE *Message = CommBuffer;

  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  mCalls[Which]++;
  Message->Status = EFI_SUCCESS;
  Message->Calls[0] = mCalls[0];
  Message->Calls[1] = mCalls[1];
  return Message->Return[Which];
}

static EFI_STATUS EFIAPI FirstHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                      UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  return Answer(0, CommBuffer, CommBufferSize);
}

static EFI_STATUS EFIAPI SecondHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                       UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  return Answer(1, CommBuffer, CommBufferSize);
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_STATUS Status;

  (void)ImageHandle;
  (void)MmSystemTable;
  Status = SampleRegister(FirstHandler, &gSampleStatusHandlerGuid, NULL);
  return EFI_ERROR(Status) ? Status : SampleRegister(SecondHandler, &gSampleStatusHandlerGuid, NULL);
}
