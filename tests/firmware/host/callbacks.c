/* Notify functions for the checks, one of which does on request what the reference does not survive. See host.h. */
#include <stdio.h>
#include <string.h>

#include <mm/guids.h>

#include "host.h"

void        *gSlots[64];
void        *gRegistrations[4];
MISBEHAVIOUR gMisbehaviour;

static EFI_STATUS Called(int Which, const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle);
#define CALLBACK(n) \
  static EFI_STATUS Callback##n(const EFI_GUID *p, void *i, EFI_HANDLE h) { return Called(n, p, i, h); }
CALLBACK(0)
CALLBACK(1)
CALLBACK(2)
CALLBACK(3)
EFI_MM_NOTIFY_FN const gCallbacks[4] = {Callback0, Callback1, Callback2, Callback3};

/* Takes and scribbles over whatever pool a record of the database might have left behind. */
static void ReuseFreedPool(void) {
  for (int i = 0; i < 8; i++) {
    void *Junk;

    gBrokerMmst.MmAllocatePool(EfiRuntimeServicesData, 48, &Junk);
    memset(Junk, 0x55, 48);
  }
}

static void Misbehave(const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle) {
  MISBEHAVIOUR Now = gMisbehaviour;

  gMisbehaviour = Behave;
  switch (Now) {
  case UnhookSelf:
    gBrokerMmst.MmRegisterProtocolNotify(Protocol, NULL, &gRegistrations[0]);
    ReuseFreedPool();
    break;
  case UnhookNext:
    gBrokerMmst.MmRegisterProtocolNotify(Protocol, NULL, &gRegistrations[1]);
    ReuseFreedPool();
    break;
  case HookAnother:
    gBrokerMmst.MmRegisterProtocolNotify(Protocol, gCallbacks[3], &gRegistrations[3]);
    break;
  case UninstallAnnounced:
    gBrokerMmst.MmUninstallProtocolInterface(Handle, Protocol, Interface);
    ReuseFreedPool();
    gSlots[9] = NULL;
    gBrokerMmst.MmInstallProtocolInterface(&gSlots[9], &gSmmVariableWriteGuid, EFI_NATIVE_INTERFACE, NULL);
    break;
  case Behave:
    break;
  }
}

static EFI_STATUS Called(int Which, const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle) {
  printf("notify %d %s %lx slot0=%s\n", Which, GuidName(Protocol), (UINTN)Interface, AddressText(gSlots[0]));
  if (Which == 0) {
    Misbehave(Protocol, Interface, Handle);
  }
  return EFI_NOT_READY; /* nobody looks at it */
}
