/*
 * Producer: installs a protocol that another driver's DEPEX waits for, and a second one, without an interface, each
 * time a message asks for it (docs/reference/boot-flow.md section 6, docs/reference/gmmst.md section 5).
 */
#include "../sample.h"

#include "producer.h"

typedef enum { ProducerInstallLate = 1 } PRODUCER_CASE;

static EFI_STATUS EFIAPI Add(UINT64 Left, UINT64 Right, UINT64 *Sum) {
  if (Sum == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  *Sum = Left + Right;
  return EFI_SUCCESS;
}

static SAMPLE_PRODUCER_PROTOCOL mProducer = {1, Add};

static EFI_STATUS EFIAPI ProducerHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                         UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status =
      Message->Case == ProducerInstallLate ? MmInstall(&gSampleLateProtocolGuid, NULL) : EFI_UNSUPPORTED;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_STATUS Status;

  (void)ImageHandle;
  (void)MmSystemTable;
  Status = MmInstall(&gSampleProducerProtocolGuid, &mProducer);
  return EFI_ERROR(Status) ? Status : SampleRegister(ProducerHandler, &gSampleProducerHandlerGuid, NULL);
}
