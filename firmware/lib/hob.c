/* See mm/hob.h. Ring 3 gets the hand-off blocks by system call, never through a configuration table. */
#include <mm/entry.h>
#include <mm/hob.h>
#include <mm/runtime.h>
#include <mm/syscall.h>

static const EFI_HOB_GENERIC_HEADER *mHobList;

static EFI_STATUS EFIAPI HobConstructor(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  mHobList = (const EFI_HOB_GENERIC_HEADER *)SysCall(SMM_QRY_HOB, 0, 0, 0);
  return EFI_SUCCESS;
}
MM_CONSTRUCTOR(10, HobConstructor);

const EFI_HOB_GENERIC_HEADER *MmHobList(void) { return mHobList; }

static const EFI_HOB_GENERIC_HEADER *Next(const EFI_HOB_GENERIC_HEADER *Hob) {
  return (const EFI_HOB_GENERIC_HEADER *)((const UINT8 *)Hob + Hob->HobLength);
}

const EFI_HOB_GUID_TYPE *MmNextGuidHob(const EFI_GUID *Guid, const EFI_HOB_GUID_TYPE *From) {
  const EFI_HOB_GENERIC_HEADER *Hob = From == NULL ? mHobList : Next(&From->Header);

  /* A block shorter than its header cannot be stepped over: the list ends there. */
  for (; Hob != NULL && Hob->HobType != EFI_HOB_TYPE_END_OF_HOB_LIST && Hob->HobLength >= sizeof *Hob;
       Hob = Next(Hob)) {
    const EFI_HOB_GUID_TYPE *Extension = (const EFI_HOB_GUID_TYPE *)Hob;

    if (Hob->HobType == EFI_HOB_TYPE_GUID_EXTENSION && Hob->HobLength >= sizeof *Extension &&
        MmGuidEqual(&Extension->Name, Guid)) {
      return Extension;
    }
  }
  return NULL;
}
