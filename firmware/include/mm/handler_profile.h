/* The MMI handler profile protocol: docs/reference/gmmst.md section 11, docs/reference/syscall-abi.md section 7.2. */
#ifndef MM_HANDLER_PROFILE_H
#define MM_HANDLER_PROFILE_H

#include <mm/table.h>

typedef struct SMI_HANDLER_PROFILE_PROTOCOL SMI_HANDLER_PROFILE_PROTOCOL;

typedef EFI_STATUS(EFIAPI *SMI_HANDLER_PROFILE_REGISTER_HANDLER)(SMI_HANDLER_PROFILE_PROTOCOL *This,
                                                                 const EFI_GUID *HandlerGuid,
                                                                 EFI_MM_HANDLER_ENTRY_POINT Handler,
                                                                 EFI_PHYSICAL_ADDRESS CallerAddress, void *Context,
                                                                 UINTN ContextSize);
typedef EFI_STATUS(EFIAPI *SMI_HANDLER_PROFILE_UNREGISTER_HANDLER)(SMI_HANDLER_PROFILE_PROTOCOL *This,
                                                                   const EFI_GUID *HandlerGuid,
                                                                   EFI_MM_HANDLER_ENTRY_POINT Handler, void *Context,
                                                                   UINTN ContextSize);

struct SMI_HANDLER_PROFILE_PROTOCOL {
  SMI_HANDLER_PROFILE_REGISTER_HANDLER   RegisterHandler;
  SMI_HANDLER_PROFILE_UNREGISTER_HANDLER UnregisterHandler;
};

#endif
