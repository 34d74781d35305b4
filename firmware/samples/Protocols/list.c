/* LocateHandle: docs/reference/gmmst.md section 5.7. */
#include "protocols.h"

/*
 * Two handles with the protocol, the first installed first. Value 0: bytes asked for or needed, 1 and 2: what was put
 * in the buffer, 3 and 4: the handles.
 */
static EFI_STATUS ListStep(SAMPLE_STEP_MESSAGE *Message, EFI_HANDLE *Handles) {
  EFI_HANDLE Found[2] = {NULL, NULL};
  UINTN      Size = Message->Case == ListTooSmall ? sizeof Found[0] : sizeof Found;
  EFI_STATUS Status;

  switch (Message->Case) {
  case ListAll:
    Size = 0;
    Status = gMmst->MmLocateHandle(AllHandles, NULL, NULL, &Size, NULL);
    break;
  case ListByProtocol:
  case ListTooSmall:
    Status = gMmst->MmLocateHandle(ByProtocol, &gSampleProtocolAGuid, NULL, &Size, Found);
    break;
  case ListUnknown:
    Status = gMmst->MmLocateHandle(ByProtocol, &gSampleAbsentProtocolGuid, NULL, &Size, Found);
    break;
  case ListGuidNull:
    Status = gMmst->MmLocateHandle(ByProtocol, NULL, NULL, &Size, Found);
    break;
  case ListKeyNull:
    Status = gMmst->MmLocateHandle(ByRegisterNotify, &gSampleProtocolAGuid, NULL, &Size, Found);
    break;
  case ListTypeOther:
    Status = gMmst->MmLocateHandle((EFI_LOCATE_SEARCH_TYPE)3, &gSampleProtocolAGuid, NULL, &Size, Found);
    break;
  case ListSizeNull:
    Status = gMmst->MmLocateHandle(ByProtocol, &gSampleProtocolAGuid, NULL, NULL, Found);
    break;
  case ListBufferNull:
    Status = gMmst->MmLocateHandle(ByProtocol, &gSampleProtocolAGuid, NULL, &Size, NULL);
    break;
  default:
    return EFI_UNSUPPORTED;
  }
  Message->Value[0] = Size;
  Message->Value[1] = (UINTN)Found[0];
  Message->Value[2] = (UINTN)Found[1];
  Message->Value[3] = (UINTN)Handles[0];
  Message->Value[4] = (UINTN)Handles[1];
  return Status;
}

EFI_STATUS RunList(SAMPLE_STEP_MESSAGE *Message) {
  EFI_HANDLE Handles[2] = {NULL, NULL};
  EFI_STATUS Status;

  Install(&Handles[0], &gSampleProtocolAGuid, &mFirstInterface);
  Install(&Handles[1], &gSampleProtocolAGuid, &mSecondInterface);
  Status = ListStep(Message, Handles);
  Uninstall(Handles[1], &gSampleProtocolAGuid, &mSecondInterface);
  Uninstall(Handles[0], &gSampleProtocolAGuid, &mFirstInterface);
  return Status;
}
