/*
 * Offender: breaks one rule of ring 3 per message, as the message's case number says. Each case has a benign twin
 * on the same path: the same instruction or call with legal operands where that exists, otherwise the legal way to
 * the same end. sample.toml lists what each case must lead to.
 */
#include <mm/hob.h>

#include "offender.h"

EFI_HANDLE      mDispatchHandle;
EFI_HANDLE      mImageHandle;
volatile UINT64 gOffenderTarget;

static UINT8       mDataByte = 0xC3;     /* RET */
static const UINT8 mConstantByte = 0xC3; /* RET */

static EFI_STATUS Report(OFFENDER_MESSAGE *Message) {
  Message->Argument[OFFENDER_REPORT_IMAGE_HANDLE] = (UINTN)mImageHandle;
  Message->Argument[OFFENDER_REPORT_DISPATCH_HANDLE] = (UINTN)mDispatchHandle;
  Message->Argument[OFFENDER_REPORT_TABLE] = (UINTN)gMmst;
  Message->Argument[OFFENDER_REPORT_HOB_LIST] = (UINTN)MmHobList();
  Message->Argument[OFFENDER_REPORT_CODE] = (UINTN)ReturnStub;
  Message->Argument[OFFENDER_REPORT_CONSTANT] = (UINTN)&mConstantByte;
  Message->Argument[OFFENDER_REPORT_DATA] = (UINTN)&mDataByte;
  Message->Argument[OFFENDER_REPORT_CPU] = gMmst->CurrentlyExecutingCpu;
  return EFI_SUCCESS;
}

static EFI_STATUS Offend(OFFENDER_MESSAGE *Message) {
  switch (Message->Case >> 8) {
  case 0x0:
    return Message->Case == OffendReport ? Report(Message) : EFI_UNSUPPORTED;
  case 0x1:
    return OffendByInstruction(Message);
  case 0x2:
    return OffendByMemory(Message);
  case 0x3:
    return OffendByCall(Message);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI OffenderHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                         UINTN *CommBufferSize) {
  OFFENDER_MESSAGE *Message = CommBuffer;

  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  mDispatchHandle = DispatchHandle;
  Message->Status = Offend(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)MmSystemTable;
  mImageHandle = ImageHandle;
  return SampleRegister(OffenderHandler, &gSampleOffenderHandlerGuid, NULL);
}
