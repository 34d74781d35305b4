/* The MM CPU protocol: docs/reference/gmmst.md section 10. Five arguments take two system calls. */
#include <mm/syscall.h>

#include "broker.h"

static EFI_STATUS EFIAPI ReadSaveState(const EFI_MM_CPU_PROTOCOL *This, UINTN Width,
                                       EFI_MM_SAVE_STATE_REGISTER Register, UINTN CpuIndex, void *Buffer) {
  SysCall(SMM_SC_SVST_READ, (UINTN)This, Register, CpuIndex);
  return SysCall(SMM_SC_SVST_READ_2, (UINTN)This, Width, (UINTN)Buffer);
}

const EFI_MM_CPU_PROTOCOL gBrokerCpuProtocol = {.ReadSaveState = ReadSaveState, .WriteSaveState = NULL};
