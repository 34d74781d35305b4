/* Notifications, and lookups by their registration: docs/reference/gmmst.md sections 5.5 to 5.7. */
#include "protocols.h"

static struct {
  UINT64     Calls;
  UINT64     Order;       /* one decimal digit a call: which of the two functions it was */
  UINT64     Interface;   /* of the last call */
  UINT64     HandleKnown; /* whether the installer's handle was already written */
  EFI_HANDLE Installing;
} mSeen;

static EFI_STATUS Note(UINT64 Digit, void *Interface) {
  mSeen.Calls++;
  mSeen.Order = mSeen.Order * 10 + Digit;
  mSeen.Interface = (UINTN)Interface;
  mSeen.HandleKnown = mSeen.Installing != NULL;
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI FirstNotify(const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle) {
  (void)Protocol;
  (void)Handle;
  return Note(1, Interface);
}

static EFI_STATUS EFIAPI SecondNotify(const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle) {
  (void)Protocol;
  (void)Handle;
  return Note(2, Interface);
}

static EFI_STATUS Register(EFI_MM_NOTIFY_FN Function, void **Registration) {
  return gMmst->MmRegisterProtocolNotify(&gSampleProtocolAGuid, Function, Registration);
}

static void Unhook(void *Registration) { Register(NULL, &Registration); }

static void InstallAndForget(void) {
  mSeen.Installing = NULL;
  Install(&mSeen.Installing, &gSampleProtocolAGuid, &mFirstInterface);
  Uninstall(mSeen.Installing, &gSampleProtocolAGuid, &mFirstInterface);
}

/* With FirstNotify registered. Values 0 to 3: calls, their order, the interface seen, whether the handle was known. */
static EFI_STATUS HookedStep(SAMPLE_STEP_MESSAGE *Message, void *Registration) {
  void      *Second = NULL;
  EFI_STATUS Status = EFI_SUCCESS;

  switch (Message->Case) {
  case NotifyCalled:
    InstallAndForget();
    break;
  case NotifySame:
    Status = Register(FirstNotify, &Second);
    Message->Value[4] = Second == Registration;
    break;
  case NotifyOrder:
    Status = Register(SecondNotify, &Second);
    InstallAndForget();
    Unhook(Second);
    break;
  default:
    return EFI_UNSUPPORTED;
  }
  Message->Value[0] = mSeen.Calls;
  Message->Value[1] = mSeen.Order;
  Message->Value[2] = mSeen.Interface;
  Message->Value[3] = mSeen.HandleKnown;
  return Status;
}

/*
 * Instances that came after the registration, one a lookup. Value 0: the first lookup's interface or handle, 1: what
 * it should be, 2: the second lookup's status.
 */
static EFI_STATUS NewInstanceStep(SAMPLE_STEP_MESSAGE *Message, void *Registration) {
  const EFI_GUID *Guid = Message->Case == LocateIgnoresGuid ? &gSampleAbsentProtocolGuid : &gSampleProtocolAGuid;
  EFI_HANDLE      Handle = NULL;
  void           *Found = NULL;
  void           *Again = NULL;
  UINTN           Size = sizeof Found;
  EFI_STATUS      Status;

  Install(&Handle, &gSampleProtocolAGuid, &mSecondInterface);
  if (Message->Case == ListByNotify) {
    Status = gMmst->MmLocateHandle(ByRegisterNotify, NULL, Registration, &Size, &Found);
    Message->Value[1] = (UINTN)Handle;
    Message->Value[2] = gMmst->MmLocateHandle(ByRegisterNotify, NULL, Registration, &Size, &Again);
  } else {
    Status = gMmst->MmLocateProtocol(Guid, Registration, &Found);
    Message->Value[1] = (UINTN)&mSecondInterface;
    Message->Value[2] = gMmst->MmLocateProtocol(Guid, Registration, &Again);
  }
  Message->Value[0] = (UINTN)Found;
  Uninstall(Handle, &gSampleProtocolAGuid, &mSecondInterface);
  return Status;
}

/* With nothing registered. Value 0: calls seen. */
static EFI_STATUS UnhookedStep(SAMPLE_STEP_MESSAGE *Message) {
  EFI_HANDLE Handle = NULL;
  void      *Registration = NULL;
  EFI_STATUS Status;

  switch (Message->Case) {
  case NotifyGuidNull:
    return gMmst->MmRegisterProtocolNotify(NULL, FirstNotify, &Registration);
  case NotifyRegistrationNull:
    return Register(FirstNotify, NULL);
  case NotifyUnknown:
    Registration = BadHandle();
    return Register(NULL, &Registration);
  case NotifyUnhooked:
    Register(FirstNotify, &Registration);
    Status = Register(NULL, &Registration);
    InstallAndForget();
    break;
  case NotifyExisting:
    Install(&Handle, &gSampleProtocolAGuid, &mFirstInterface);
    Status = Register(FirstNotify, &Registration);
    Unhook(Registration);
    Uninstall(Handle, &gSampleProtocolAGuid, &mFirstInterface);
    break;
  default:
    return EFI_UNSUPPORTED;
  }
  Message->Value[0] = mSeen.Calls;
  return Status;
}

EFI_STATUS RunNotify(SAMPLE_STEP_MESSAGE *Message) {
  void      *Registration = NULL;
  EFI_STATUS Status;

  mSeen.Calls = mSeen.Order = mSeen.Interface = mSeen.HandleKnown = 0;
  if (Message->Case >= NotifyGuidNull && Message->Case <= NotifyExisting) {
    return UnhookedStep(Message);
  }
  Status = Register(FirstNotify, &Registration);
  if (EFI_ERROR(Status)) {
    return Status;
  }
  Status = Message->Case == NotifyCalled || Message->Case == NotifySame || Message->Case == NotifyOrder
               ? HookedStep(Message, Registration)
               : NewInstanceStep(Message, Registration);
  Unhook(Registration);
  return Status;
}
