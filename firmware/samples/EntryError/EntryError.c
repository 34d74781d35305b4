/*
 * EntryError: registers a handler and then fails. The supervisor frees the image, but the handler stays registered
 * with a pointer into freed pages (docs/reference/boot-flow.md section 6.5): the next message for it makes ring 3
 * fetch from a page that is the supervisor's by then. The twin, built with BENIGN, succeeds.
 */
#include "../sample.h"

#ifdef BENIGN
#define ENTRY_STATUS EFI_SUCCESS
#else
#define ENTRY_STATUS EFI_DEVICE_ERROR
#endif

typedef struct {
  UINT64 Status;
} ENTRY_ERROR_MESSAGE;

MM_STATIC_ASSERT(sizeof(ENTRY_ERROR_MESSAGE) == 8);

EFI_STATUS EFIAPI EntryErrorHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                    UINTN *CommBufferSize) {
  ENTRY_ERROR_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = EFI_SUCCESS;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_STATUS Status;

  (void)ImageHandle;
  (void)MmSystemTable;
  Status = SampleRegister(EntryErrorHandler, &gSampleEntryErrorHandlerGuid, NULL);
  return EFI_ERROR(Status) ? Status : ENTRY_STATUS;
}
