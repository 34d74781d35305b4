/*
 * UsesImageHandle: installs a protocol on its own ImageHandle, as many traditional SMM drivers do. The handle is a
 * pointer into supervisor memory (docs/reference/gmmst.md section 6), so the broker faults when it looks for the
 * handle's signature. The twin, built with BENIGN, passes NULL and gets a new handle.
 */
#include "../sample.h"

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_HANDLE Handle = ImageHandle;

  (void)MmSystemTable;
#ifdef BENIGN
  Handle = NULL;
#endif
  return gMmst->MmInstallProtocolInterface(&Handle, &gSampleImageHandleProtocolGuid, EFI_NATIVE_INTERFACE, NULL);
}
