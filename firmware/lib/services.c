/* See mm/services.h. */
#include <mm/entry.h>
#include <mm/runtime.h>
#include <mm/services.h>

EFI_MM_SYSTEM_TABLE *gMmst;

static EFI_STATUS EFIAPI ServicesConstructor(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  gMmst = MmSystemTable;
  return EFI_SUCCESS;
}
MM_CONSTRUCTOR(20, ServicesConstructor);

void *MmAllocate(UINTN Size) {
  void *Buffer = NULL;

  if (EFI_ERROR(gMmst->MmAllocatePool(EfiRuntimeServicesData, Size, &Buffer))) {
    return NULL;
  }
  return Buffer;
}

void *MmAllocateZero(UINTN Size) {
  void *Buffer = MmAllocate(Size);

  return Buffer == NULL ? NULL : memset(Buffer, 0, Size);
}

void MmFree(void *Buffer) { gMmst->MmFreePool(Buffer); }

EFI_STATUS MmInstall(const EFI_GUID *Protocol, void *Interface) {
  EFI_HANDLE Handle = NULL;

  return gMmst->MmInstallProtocolInterface(&Handle, Protocol, EFI_NATIVE_INTERFACE, Interface);
}

void *MmLocate(const EFI_GUID *Protocol) {
  void *Interface = NULL;

  return EFI_ERROR(gMmst->MmLocateProtocol(Protocol, NULL, &Interface)) ? NULL : Interface;
}
