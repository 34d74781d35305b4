/* Installing, uninstalling, and looking up by handle or GUID: docs/reference/gmmst.md sections 5.2 to 5.4 and 5.6. */
#include "protocols.h"

static EFI_STATUS InstallStep(SAMPLE_STEP_MESSAGE *Message, EFI_HANDLE Handle) {
  EFI_HANDLE New = NULL;
  EFI_HANDLE Bad = BadHandle();
  EFI_STATUS Status;

  switch (Message->Case) {
  case InstallNew:
  case InstallNullInterface:
    Status = Install(&New, &gSampleProtocolBGuid, Message->Case == InstallNew ? &mSecondInterface : NULL);
    Message->Value[0] = (UINTN)New;
    Uninstall(New, &gSampleProtocolBGuid, Message->Case == InstallNew ? &mSecondInterface : NULL);
    return Status;
  case InstallHandleNull:
    return Install(NULL, &gSampleProtocolBGuid, &mSecondInterface);
  case InstallGuidNull:
    return Install(&New, NULL, &mSecondInterface);
  case InstallTypeOther:
    return gMmst->MmInstallProtocolInterface(&New, &gSampleProtocolBGuid, (EFI_INTERFACE_TYPE)1, &mSecondInterface);
  case InstallTwice:
    return Install(&Handle, &gSampleProtocolAGuid, &mSecondInterface);
  case InstallBadHandle:
    return Install(&Bad, &gSampleProtocolBGuid, &mSecondInterface);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS UninstallStep(SAMPLE_STEP_MESSAGE *Message, EFI_HANDLE Handle) {
  EFI_STATUS Status = Install(&Handle, &gSampleProtocolBGuid, &mSecondInterface);

  if (EFI_ERROR(Status)) {
    return Status;
  }
  switch (Message->Case) {
  case UninstallLast:
    Status = Uninstall(Handle, &gSampleProtocolBGuid, &mSecondInterface);
    return Status;
  case UninstallGuidNull:
    Status = Uninstall(Handle, NULL, &mSecondInterface);
    break;
  case UninstallBadHandle:
    Status = Uninstall(BadHandle(), &gSampleProtocolBGuid, &mSecondInterface);
    break;
  case UninstallOther:
    Status = Uninstall(Handle, &gSampleProtocolBGuid, &mFirstInterface);
    break;
  case UninstallTwice:
    Uninstall(Handle, &gSampleProtocolBGuid, &mSecondInterface);
    return Uninstall(Handle, &gSampleProtocolBGuid, &mSecondInterface);
  default:
    Status = EFI_UNSUPPORTED;
    break;
  }
  Uninstall(Handle, &gSampleProtocolBGuid, &mSecondInterface);
  return Status;
}

/* Value 0: the interface that was found, before: a mark; value 1: what was to be found. */
static EFI_STATUS LookUpStep(SAMPLE_STEP_MESSAGE *Message, EFI_HANDLE Handle) {
  void      *Interface = &Interface;
  EFI_STATUS Status;

  switch (Message->Case) {
  case HandleFound:
    Status = gMmst->MmHandleProtocol(Handle, &gSampleProtocolAGuid, &Interface);
    break;
  case HandleAbsent:
    Status = gMmst->MmHandleProtocol(Handle, &gSampleProtocolBGuid, &Interface);
    break;
  case HandleGuidNull:
    Status = gMmst->MmHandleProtocol(Handle, NULL, &Interface);
    break;
  case HandleInterfaceNull:
    Status = gMmst->MmHandleProtocol(Handle, &gSampleProtocolAGuid, NULL);
    break;
  case HandleBadHandle:
    Status = gMmst->MmHandleProtocol(BadHandle(), &gSampleProtocolAGuid, &Interface);
    break;
  case LocateFirst:
    Status = gMmst->MmLocateProtocol(&gSampleProtocolAGuid, NULL, &Interface);
    break;
  case LocateAbsent:
    Status = gMmst->MmLocateProtocol(&gSampleAbsentProtocolGuid, NULL, &Interface);
    break;
  case LocateGuidNull:
    Status = gMmst->MmLocateProtocol(NULL, NULL, &Interface);
    break;
  case LocateInterfaceNull:
    Status = gMmst->MmLocateProtocol(&gSampleProtocolAGuid, NULL, NULL);
    break;
  default:
    return EFI_UNSUPPORTED;
  }
  Message->Value[0] = (UINTN)Interface;
  Message->Value[1] = (UINTN)&mFirstInterface;
  return Status;
}

EFI_STATUS RunDatabase(SAMPLE_STEP_MESSAGE *Message) {
  EFI_HANDLE Handle = NULL;
  EFI_STATUS Status = Install(&Handle, &gSampleProtocolAGuid, &mFirstInterface);

  if (EFI_ERROR(Status)) {
    return Status;
  }
  switch (Message->Case >> 4) {
  case InstallNew >> 4:
    Status = InstallStep(Message, Handle);
    break;
  case UninstallLast >> 4:
    Status = UninstallStep(Message, Handle);
    break;
  default:
    Status = LookUpStep(Message, Handle);
    break;
  }
  Uninstall(Handle, &gSampleProtocolAGuid, &mFirstInterface);
  return Status;
}
