/*
 * Lifecycle: counts the notifications of the protocols by which the broker relays the phases of the boot
 * (docs/reference/boot-flow.md section 11). Ready-to-boot and exit-boot-services come under their event GUIDs; the
 * protocols that traditional SMM drivers wait for are never installed.
 */
#include <mm/runtime.h>

#include "../sample.h"

#define PHASES 8

typedef struct {
  UINT64 Status;
  UINT64 Counts[PHASES]; /* in the order of mPhases */
} LIFECYCLE_MESSAGE;

MM_STATIC_ASSERT(sizeof(LIFECYCLE_MESSAGE) == 72);

static const EFI_GUID *const mPhases[PHASES] = {
    &gEfiMmEndOfPeiProtocol,
    &gEfiMmEndOfDxeProtocolGuid,
    &gEfiMmReadyToLockProtocolGuid,
    &gEfiEventReadyToBootGuid,
    &gEfiEventExitBootServicesGuid,
    &gEdkiiSmmReadyToBootProtocolGuid,
    &gEdkiiSmmExitBootServicesProtocolGuid,
    &gEdkiiSmmLegacyBootProtocolGuid,
};

static UINT64 mCounts[PHASES];

static EFI_STATUS EFIAPI PhaseNotify(const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle) {
  (void)Interface;
  (void)Handle;
  for (UINTN Phase = 0; Phase < PHASES; Phase++) {
    mCounts[Phase] += MmGuidEqual(Protocol, mPhases[Phase]);
  }
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI LifecycleHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                          UINTN *CommBufferSize) {
  LIFECYCLE_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  memcpy(Message->Counts, mCounts, sizeof mCounts);
  Message->Status = EFI_SUCCESS;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  for (UINTN Phase = 0; Phase < PHASES; Phase++) {
    void      *Registration = NULL;
    EFI_STATUS Status = gMmst->MmRegisterProtocolNotify(mPhases[Phase], PhaseNotify, &Registration);

    if (EFI_ERROR(Status)) {
      return Status;
    }
  }
  return SampleRegister(LifecycleHandler, &gSampleLifecycleHandlerGuid, NULL);
}
