/* What the driver of Entry.S does: it installs a protocol, so that one can see that it ran to its end. */
#include "../sample.h"

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return MmInstall(&gSampleReturnProtocolGuid, NULL);
}
