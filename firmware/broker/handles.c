/* Installing, removing and asking a handle: docs/reference/gmmst.md sections 5.2 to 5.4. */
#include <mm/runtime.h>
#include <mm/syscall.h>

#include "database.h"

static PROTOCOL_INTERFACE *FindOnHandle(const IHANDLE *Handle, const EFI_GUID *Protocol) {
  LIST_FOR_EACH(Link, &Handle->Protocols) {
    PROTOCOL_INTERFACE *Interface = LIST_OWNER(Link, PROTOCOL_INTERFACE, Link);

    if (MmGuidEqual(&Interface->Protocol->ProtocolID, Protocol)) {
      return Interface;
    }
  }
  return NULL;
}

static IHANDLE *NewHandle(void) {
  IHANDLE *Handle = PoolAllocateZero(sizeof *Handle);

  if (Handle != NULL) {
    Handle->Signature = HANDLE_SIGNATURE;
    ListInitialise(&Handle->Protocols);
    ListInsertTail(&gHandleList, &Handle->AllHandles);
  }
  return Handle;
}

/* All but telling the supervisor. *UserHandle is written last: it is not yet valid while notifies run. */
static EFI_STATUS Install(EFI_HANDLE *UserHandle, const EFI_GUID *Protocol, void *Interface) {
  IHANDLE            *Handle = *UserHandle;
  PROTOCOL_ENTRY     *Entry;
  PROTOCOL_INTERFACE *Record;

  if (Handle != NULL && (HandleFrom(Handle) == NULL || FindOnHandle(Handle, Protocol) != NULL)) {
    return EFI_INVALID_PARAMETER;
  }

  Entry = FindProtocolEntry(Protocol, TRUE);
  Record = Entry == NULL ? NULL : PoolAllocateZero(sizeof *Record);
  if (Record == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  if (Handle == NULL) {
    Handle = NewHandle();
    if (Handle == NULL) {
      BrokerFreePool(Record);
      return EFI_OUT_OF_RESOURCES;
    }
  }

  Record->Signature = PROTOCOL_INTERFACE_SIGNATURE;
  Record->Handle = Handle;
  Record->Protocol = Entry;
  Record->Interface = Interface;
  ListInsertHead(&Handle->Protocols, &Record->Link);
  ListInsertTail(&Entry->Protocols, &Record->ByProtocol);

  NotifyInstalled(Entry, Interface, Handle);
  *UserHandle = Handle;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI BrokerInstallProtocol(EFI_HANDLE *Handle, const EFI_GUID *Protocol, EFI_INTERFACE_TYPE InterfaceType,
                                        void *Interface) {
  EFI_STATUS Status;

  if (Handle == NULL || Protocol == NULL || InterfaceType != EFI_NATIVE_INTERFACE) {
    return EFI_INVALID_PARAMETER;
  }
  Status = Install(Handle, Protocol, Interface);
  if (!EFI_ERROR(Status)) {
    SysCall(SMM_INST_PROT, (UINTN)Protocol, 0, 0); /* only now can a DEPEX see it; nested installs came first */
  }
  return Status;
}

EFI_STATUS BrokerAnnounce(const EFI_GUID *Protocol, void *Interface) {
  EFI_HANDLE Handle = NULL;

  return BrokerInstallProtocol(&Handle, Protocol, EFI_NATIVE_INTERFACE, Interface);
}

EFI_STATUS EFIAPI BrokerUninstallProtocol(EFI_HANDLE UserHandle, const EFI_GUID *Protocol, void *Interface) {
  IHANDLE            *Handle;
  PROTOCOL_INTERFACE *Record;

  if (Protocol == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  Handle = HandleFrom(UserHandle);
  if (Handle == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  Record = FindOnHandle(Handle, Protocol);
  if (Record == NULL || Record->Interface != Interface) {
    return EFI_NOT_FOUND;
  }

  NotifyForget(Record);
  ListRemove(&Record->Link);
  ListRemove(&Record->ByProtocol);
  Record->Signature = 0;
  BrokerFreePool(Record);

  if (ListIsEmpty(&Handle->Protocols)) {
    ListRemove(&Handle->AllHandles);
    Handle->Signature = 0;
    BrokerFreePool(Handle);
  }
  return EFI_SUCCESS; /* the supervisor is not told: a DEPEX keeps seeing the protocol */
}

EFI_STATUS EFIAPI BrokerHandleProtocol(EFI_HANDLE UserHandle, const EFI_GUID *Protocol, void **Interface) {
  IHANDLE            *Handle;
  PROTOCOL_INTERFACE *Record;

  if (Protocol == NULL || Interface == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  *Interface = NULL;
  Handle = HandleFrom(UserHandle);
  if (Handle == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  Record = FindOnHandle(Handle, Protocol);
  if (Record == NULL) {
    return EFI_UNSUPPORTED;
  }
  *Interface = Record->Interface;
  return EFI_SUCCESS;
}
