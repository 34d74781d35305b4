/*
 * SaveState: reads a CPU's saved registers by the MM CPU protocol, as the message asks. The policy decides what it
 * gets, as a status and never fatally (docs/reference/save-state.md sections 6 and 7); a register above 514 or a CPU
 * that is not there is fatal.
 */
#include <mm/cpu.h>

#include "../sample.h"

typedef struct {
  UINT64 Status;
  UINT32 Register; /* EFI_MM_SAVE_STATE_REGISTER_*, passed on unchecked */
  UINT32 Width;    /* bytes, at most those of Buffer */
  UINT64 Cpu;      /* passed on unchecked */
  UINT8  Buffer[24];
} SAVE_STATE_MESSAGE;

MM_STATIC_ASSERT(sizeof(SAVE_STATE_MESSAGE) == 48);
MM_STATIC_ASSERT(sizeof(((SAVE_STATE_MESSAGE *)0)->Buffer) == sizeof(EFI_MM_SAVE_STATE_IO_INFO));

static EFI_STATUS Read(SAVE_STATE_MESSAGE *Message) {
  EFI_MM_CPU_PROTOCOL *Cpu = MmLocate(&gEfiMmCpuProtocolGuid);

  if (Cpu == NULL) {
    return EFI_NOT_STARTED;
  }
  if (Message->Width > sizeof Message->Buffer) {
    return EFI_BAD_BUFFER_SIZE;
  }
  return Cpu->ReadSaveState(Cpu, Message->Width, (EFI_MM_SAVE_STATE_REGISTER)Message->Register, Message->Cpu,
                            Message->Buffer);
}

static EFI_STATUS EFIAPI SaveStateHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                          UINTN *CommBufferSize) {
  SAVE_STATE_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Read(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(SaveStateHandler, &gSampleSaveStateHandlerGuid, NULL);
}
