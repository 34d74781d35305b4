/*
 * Unblocked: reads or fills memory outside MMRAM whose address is in the message. It asks the supervisor first
 * whether the range is unblocked (system call 0x10022, docs/reference/memory.md section 8), and refuses otherwise.
 * Built with UNCHECKED it forgets to ask, and then a wrong address is a page fault.
 */
#include "../sample.h"

typedef struct {
  UINT64 Status;
  UINT32 Write;   /* 0: sum the bytes; else fill the range with the low byte of Fill */
  UINT32 Fill;
  UINT64 Address; /* of the range */
  UINT64 Length;  /* in bytes */
  UINT64 Sum;     /* out: of the bytes read */
  UINT64 Allowed; /* out: what the supervisor answered; 2: not asked */
} UNBLOCKED_MESSAGE;

MM_STATIC_ASSERT(sizeof(UNBLOCKED_MESSAGE) == 48);

#define NOT_ASKED 2

UINT64 EFIAPI TouchRead(UINT64 Address); /* touch.S */
void EFIAPI   TouchWrite(UINT64 Address, UINT64 Value);

static UINT64 Ask(const UNBLOCKED_MESSAGE *Message) {
#ifdef UNCHECKED
  (void)Message;
  return NOT_ASKED;
#else
  return MmIsBufferOutsideMmValid(Message->Address, Message->Length);
#endif
}

static EFI_STATUS Act(UNBLOCKED_MESSAGE *Message) {
  Message->Sum = 0;
  Message->Allowed = Ask(Message);
  if (!Message->Allowed) {
    return EFI_ACCESS_DENIED;
  }
  for (UINT64 Index = 0; Index < Message->Length; Index++) {
    if (Message->Write) {
      TouchWrite(Message->Address + Index, Message->Fill);
    } else {
      Message->Sum += TouchRead(Message->Address + Index);
    }
  }
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI UnblockedHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                          UINTN *CommBufferSize) {
  UNBLOCKED_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Act(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
#ifdef UNCHECKED
  return SampleRegister(UnblockedHandler, &gSampleUnblockedUncheckedHandlerGuid, NULL);
#else
  return SampleRegister(UnblockedHandler, &gSampleUnblockedHandlerGuid, NULL);
#endif
}
