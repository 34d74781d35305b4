/* The handler profile protocol: docs/reference/gmmst.md section 11. Each service is a pair of system calls. */
#include <mm/syscall.h>

#include "broker.h"

static EFI_STATUS EFIAPI RegisterHandler(SMI_HANDLER_PROFILE_PROTOCOL *This, const EFI_GUID *HandlerGuid,
                                         EFI_MM_HANDLER_ENTRY_POINT Handler, EFI_PHYSICAL_ADDRESS CallerAddress,
                                         void *Context, UINTN ContextSize) {
  (void)This;
  SysCall(SMM_MM_HDL_REG_1, (UINTN)HandlerGuid, (UINTN)Handler, CallerAddress);
  SysCall(SMM_MM_HDL_REG_2, (UINTN)HandlerGuid, (UINTN)Context, ContextSize);
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI UnregisterHandler(SMI_HANDLER_PROFILE_PROTOCOL *This, const EFI_GUID *HandlerGuid,
                                           EFI_MM_HANDLER_ENTRY_POINT Handler, void *Context, UINTN ContextSize) {
  (void)This;
  SysCall(SMM_MM_HDL_UNREG_1, (UINTN)HandlerGuid, (UINTN)Handler, 0);
  SysCall(SMM_MM_HDL_UNREG_2, (UINTN)HandlerGuid, (UINTN)Context, ContextSize);
  return EFI_SUCCESS;
}

const SMI_HANDLER_PROFILE_PROTOCOL gBrokerHandlerProfile = {RegisterHandler, UnregisterHandler};
