/*
 * IoMsr: everything that the isolation policy gates, as the message asks. Ports and MSRs are reached through system
 * calls 0, 1, 3 and 4, CLI, WBINVD and HLT through 2, 5 and 6 (docs/reference/syscall-abi.md section 7.1). Nothing
 * is checked here first: what the policy denies is fatal to the whole system, never an error status.
 */
#include "../sample.h"

typedef enum { IoMsrReadPort, IoMsrWritePort, IoMsrReadMsr, IoMsrWriteMsr, IoMsrCli, IoMsrWbinvd, IoMsrHlt } IO_MSR_ACTION;

typedef struct {
  UINT64 Status;
  UINT32 Action;  /* IO_MSR_ACTION */
  UINT32 Width;   /* ports: MM_SC_WIDTH_*, passed on unchecked */
  UINT64 Address; /* port or MSR number, passed on unchecked */
  UINT64 Value;   /* in: what to write; out: what was read, or what the call returned */
} IO_MSR_MESSAGE;

MM_STATIC_ASSERT(sizeof(IO_MSR_MESSAGE) == 32);

static EFI_STATUS Act(IO_MSR_MESSAGE *Message) {
  switch (Message->Action) {
  case IoMsrReadPort:
    Message->Value = SysCall(SMM_SC_IO_READ, Message->Address, Message->Width, 0);
    return EFI_SUCCESS;
  case IoMsrWritePort:
    Message->Value = SysCall(SMM_SC_IO_WRITE, Message->Address, Message->Width, Message->Value);
    return EFI_SUCCESS;
  case IoMsrReadMsr:
    Message->Value = SysCall(SMM_SC_RDMSR, Message->Address, 0, 0);
    return EFI_SUCCESS;
  case IoMsrWriteMsr:
    Message->Value = SysCall(SMM_SC_WRMSR, Message->Address, Message->Value, 0);
    return EFI_SUCCESS;
  case IoMsrCli:
    Message->Value = SysCall(SMM_SC_CLI, 0, 0, 0);
    return EFI_SUCCESS;
  case IoMsrWbinvd:
    Message->Value = SysCall(SMM_SC_WBINVD, 0, 0, 0);
    return EFI_SUCCESS;
  case IoMsrHlt:
    Message->Value = SysCall(SMM_SC_HLT, 0, 0, 0);
    return EFI_SUCCESS;
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI IoMsrHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                      UINTN *CommBufferSize) {
  IO_MSR_MESSAGE *Message = CommBuffer;

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
  return SampleRegister(IoMsrHandler, &gSampleIoMsrHandlerGuid, NULL);
}
