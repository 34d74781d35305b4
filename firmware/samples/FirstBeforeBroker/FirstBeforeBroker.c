/*
 * FirstBeforeBroker: its DEPEX is TRUE, without the broker's ready protocol, so it may start first, and then the MM
 * system table is NULL (docs/reference/boot-flow.md section 6.3). It reads a service from the table unchecked. The
 * twin is the same code with the ready protocol in its DEPEX.
 *
 * Only the parameter is used, not the library's gMmst: this is the driver that forgot to link that library.
 */
#include <mm/entry.h>

#include "../sample_guids.h"

EFI_MM_ALLOCATE_POOL EFIAPI LoadAllocatePool(const EFI_MM_SYSTEM_TABLE *MmSystemTable); /* load.S */

static EFI_HANDLE mHandle; /* of the protocol that shows the driver got to its end */

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_MM_ALLOCATE_POOL AllocatePool = LoadAllocatePool(MmSystemTable);
  void                *Pool = NULL;
  EFI_STATUS           Status;

  (void)ImageHandle;
  Status = AllocatePool(EfiRuntimeServicesData, 16, &Pool);
  if (EFI_ERROR(Status)) {
    return Status;
  }
  MmSystemTable->MmFreePool(Pool);
  return MmSystemTable->MmInstallProtocolInterface(&mHandle, &gSampleFirstProtocolGuid, EFI_NATIVE_INTERFACE, NULL);
}
