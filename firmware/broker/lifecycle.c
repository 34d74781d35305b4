/*
 * Milestones of the boot: a message from outside becomes a protocol that drivers wait for. docs/reference/boot-flow.md
 * section 11. Only the last two milestones are guarded against a second message.
 */
#include <mm/guids.h>

#include "broker.h"

static EFI_HANDLE mReadyToLockHandler;

static EFI_STATUS EFIAPI OnReadyToLock(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                       UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  gBrokerMmst.MmiHandlerUnRegister(mReadyToLockHandler);
  return BrokerAnnounce(&gEfiMmReadyToLockProtocolGuid, NULL);
}

static EFI_STATUS EFIAPI OnEndOfPei(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                    UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  return BrokerAnnounce(&gEfiMmEndOfPeiProtocol, NULL);
}

static EFI_STATUS EFIAPI OnEndOfDxe(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                    UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  return BrokerAnnounce(&gEfiMmEndOfDxeProtocolGuid, NULL);
}

/* Announces an event the first time. Drivers find it under the event's GUID, not under an SMM protocol of its own. */
static EFI_STATUS AnnounceOnce(BOOLEAN *Announced, const EFI_GUID *Event) {
  if (*Announced) {
    return EFI_SUCCESS;
  }
  *Announced = TRUE;
  return BrokerAnnounce(Event, NULL);
}

static EFI_STATUS EFIAPI OnExitBootServices(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                            UINTN *CommBufferSize) {
  static BOOLEAN Announced;

  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  return AnnounceOnce(&Announced, &gEfiEventExitBootServicesGuid);
}

static EFI_STATUS EFIAPI OnReadyToBoot(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                       UINTN *CommBufferSize) {
  static BOOLEAN Announced;

  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  return AnnounceOnce(&Announced, &gEfiEventReadyToBootGuid);
}

static EFI_STATUS Listen(const EFI_GUID *Message, EFI_MM_HANDLER_ENTRY_POINT Handler, EFI_HANDLE *DispatchHandle) {
  return gBrokerMmst.MmiHandlerRegister(Handler, Message, DispatchHandle);
}

EFI_STATUS LifecycleStart(void) {
  EFI_HANDLE Unused;

  Listen(&gEfiDxeMmReadyToLockProtocolGuid, OnReadyToLock, &mReadyToLockHandler);
  Listen(&gEfiMmEndOfPeiProtocol, OnEndOfPei, &Unused);
  Listen(&gEfiEndOfDxeEventGroupGuid, OnEndOfDxe, &Unused);
  Listen(&gEfiEventExitBootServicesGuid, OnExitBootServices, &Unused);
  return Listen(&gEfiEventReadyToBootGuid, OnReadyToBoot, &Unused);
}
