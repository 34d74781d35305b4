/* What runs between the entry stub and the driver: docs/reference/syscall-abi.md section 3.4. */
#include <mm/entry.h>

#ifndef MM_REVISION
#error "the build sets MM_REVISION, the PI version that the driver asks for (0: none)"
#endif

/* Tools look for it by this name. */
const UINT32 _gMmRevision = MM_REVISION;

extern MM_LIBRARY_HOOK const MmConstructorsStart[], MmConstructorsEnd[];
extern MM_LIBRARY_HOOK const MmDestructorsStart[], MmDestructorsEnd[];

static void RunHooks(MM_LIBRARY_HOOK const *Hook, MM_LIBRARY_HOOK const *End, EFI_HANDLE ImageHandle,
                     EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  for (; Hook < End; Hook++) {
    (*Hook)(ImageHandle, MmSystemTable); /* a library's failure does not stop the driver: neither on the device */
  }
}

EFI_STATUS EFIAPI MmDriverStart(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  UINT32     Wanted = *(const volatile UINT32 *)&_gMmRevision; /* may be patched in the built image */
  EFI_STATUS Status;

  if (Wanted != 0 && MmSystemTable != NULL && MmSystemTable->Hdr.Revision < Wanted) {
    return EFI_INCOMPATIBLE_VERSION;
  }

  RunHooks(MmConstructorsStart, MmConstructorsEnd, ImageHandle, MmSystemTable);
  Status = MmDriverEntryPoint(ImageHandle, MmSystemTable);
  if (EFI_ERROR(Status)) {
    RunHooks(MmDestructorsStart, MmDestructorsEnd, ImageHandle, MmSystemTable);
  }
  return Status;
}
