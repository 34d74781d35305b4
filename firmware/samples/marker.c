/*
 * A driver that does nothing but install one protocol, MARKER_GUID of its driver.toml, to show that it ran and when.
 * What it shows is in its DEPEX or in how it is built.
 */
#include "sample.h"

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return MmInstall(&MARKER_GUID, NULL);
}
