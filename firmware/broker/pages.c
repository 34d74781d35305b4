/* Pages belong to the supervisor: docs/reference/gmmst.md section 4. Nearly every refusal is fatal down there. */
#include <mm/syscall.h>

#include "broker.h"

EFI_STATUS EFIAPI BrokerAllocatePages(EFI_ALLOCATE_TYPE Type, EFI_MEMORY_TYPE MemoryType, UINTN NumberOfPages,
                                      EFI_PHYSICAL_ADDRESS *Memory) {
  EFI_PHYSICAL_ADDRESS Address;

  if (Memory == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  Address = SysCall(SMM_ALOC_PAGE, Type, MemoryType, NumberOfPages); /* the call has no room for *Memory's hint */
  if (Address == 0) {
    return EFI_OUT_OF_RESOURCES;
  }
  *Memory = Address;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI BrokerFreePages(EFI_PHYSICAL_ADDRESS Memory, UINTN NumberOfPages) {
  SysCall(SMM_FREE_PAGE, Memory, NumberOfPages, 0);
  return EFI_SUCCESS;
}
