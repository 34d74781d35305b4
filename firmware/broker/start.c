/*
 * MmSupervisorRing3Broker: the first driver to run, which gives every later one its MM system table.
 * docs/reference/boot-flow.md section 9. The HOB library's constructor has made the first system call before this.
 */
#include <mm/entry.h>
#include <mm/guids.h>
#include <mm/syscall.h>

#include "broker.h"

/* Bit 0: offer the handler profile. Patchable in the built image, where the symbol file says. */
#ifndef BROKER_HANDLER_PROFILE
#define BROKER_HANDLER_PROFILE 0
#endif
const volatile UINT8 gHandlerProfilePropertyMask = BROKER_HANDLER_PROFILE;

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_STATUS Status;

  (void)ImageHandle;
  (void)MmSystemTable; /* NULL: the table is ours to give */

  PoolStart();
  SysCall(SMM_REG_HDL_JMP, (UINTN)CentralRing3JumpPointer, (UINTN)ApRing3JumpPointer, 0);
  SysCall(SMM_SET_CPL3_TBL, (UINTN)&gBrokerMmst, 0, 0);
  BrokerAnnounce(&gEfiMmCpuProtocolGuid, (void *)&gBrokerCpuProtocol);
  BrokerAnnounce(&gMmRing3HandlerReadyProtocol, NULL);
  Status = LifecycleStart();
  if ((gHandlerProfilePropertyMask & 1) != 0) {
    BrokerAnnounce(&gSmiHandlerProfileGuid, (void *)&gBrokerHandlerProfile);
  }
  return Status;
}
