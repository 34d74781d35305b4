/*
 * Protocols: the protocol services of gMmst, one step per message, each with the status that
 * docs/reference/gmmst.md section 5 gives for it. The wild handles are in the driver's own memory: one in foreign
 * memory faults, which UsesImageHandle shows.
 */
#include "protocols.h"

UINT64 mFirstInterface = 1;
UINT64 mSecondInterface = 2;

EFI_STATUS Install(EFI_HANDLE *Handle, const EFI_GUID *Guid, void *Interface) {
  return gMmst->MmInstallProtocolInterface(Handle, Guid, EFI_NATIVE_INTERFACE, Interface);
}

EFI_STATUS Uninstall(EFI_HANDLE Handle, const EFI_GUID *Guid, void *Interface) {
  return gMmst->MmUninstallProtocolInterface(Handle, Guid, Interface);
}

EFI_HANDLE BadHandle(void) {
  static UINT64 NoHandle[8];

  return NoHandle;
}

static EFI_STATUS EFIAPI ProtocolsHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                          UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  if (Message->Case < ListAll && Message->Case != LocateByRegistration && Message->Case != LocateIgnoresGuid) {
    Message->Status = RunDatabase(Message);
  } else if (Message->Case >= ListAll && Message->Case < NotifyCalled && Message->Case != ListByNotify) {
    Message->Status = RunList(Message);
  } else {
    Message->Status = RunNotify(Message);
  }
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(ProtocolsHandler, &gSampleProtocolsHandlerGuid, NULL);
}
