/* Cases 0x2xx: memory that ring 3 may not read, write, execute or call, and stacks and loops without end. */
#include <mm/cpu.h>
#include <mm/guids.h>
#include <mm/hob.h>
#include <mm/runtime.h>

#include "offender.h"

UINT64 EFIAPI DoRead(UINT64 Address);
void EFIAPI   DoWrite(UINT64 Address, UINT64 Value);
void EFIAPI   DoExecute(UINT64 Target);
void EFIAPI   DoPush(UINT64 StackPointer);
void EFIAPI   DoRecurse(UINT64 Depth);
void EFIAPI   DoLoop(UINT64 Rounds);

#define RET_BYTE         0xC3
#define BENIGN_DEPTH     64
#define BENIGN_ROUNDS    1000
#define NON_CANONICAL    0x8000000000000000ULL

static UINT64       mData = RET_BYTE;
static const UINT64 mConstant = RET_BYTE;

static EFI_STATUS Read(OFFENDER_MESSAGE *Message, UINT64 Address) {
  gOffenderTarget = Message->Benign ? (UINTN)&mData : Address;
  Message->Result = DoRead(gOffenderTarget);
  return EFI_SUCCESS;
}

static EFI_STATUS Write(OFFENDER_MESSAGE *Message, UINT64 Address) {
  static volatile UINT64 Place;

  gOffenderTarget = Message->Benign ? (UINTN)&Place : Address;
  DoWrite(gOffenderTarget, 0x5A5A5A5A5A5A5A5AULL);
  Message->Result = *(volatile UINT64 *)gOffenderTarget;
  return EFI_SUCCESS;
}

static EFI_STATUS Execute(OFFENDER_MESSAGE *Message, UINT64 Target) {
  gOffenderTarget = Message->Benign ? (UINTN)ReturnStub : Target;
  DoExecute(gOffenderTarget);
  return EFI_SUCCESS;
}

static EFI_STATUS ExecutePool(OFFENDER_MESSAGE *Message) {
  UINT8 *Pool = MmAllocate(1);

  if (Pool == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  *Pool = RET_BYTE;
  Execute(Message, (UINTN)Pool);
  MmFree(Pool);
  return EFI_SUCCESS;
}

static EFI_STATUS ExecuteStack(OFFENDER_MESSAGE *Message) {
  volatile UINT8 Code = RET_BYTE;

  return Execute(Message, (UINTN)&Code);
}

/* WriteSaveState is a NULL pointer in ring 3; the twin reads the executing CPU's identity instead. */
static EFI_STATUS WriteSaveState(OFFENDER_MESSAGE *Message) {
  EFI_MM_CPU_PROTOCOL *Cpu = MmLocate(&gEfiMmCpuProtocolGuid);

  if (Cpu == NULL) {
    return EFI_NOT_FOUND;
  }
  if (Message->Benign) {
    return Cpu->ReadSaveState(Cpu, sizeof Message->Result, EFI_MM_SAVE_STATE_REGISTER_PROCESSOR_ID,
                              gMmst->CurrentlyExecutingCpu, &Message->Result);
  }
  gOffenderTarget = (UINTN)Cpu->WriteSaveState;
  DoExecute(gOffenderTarget);
  return EFI_SUCCESS;
}

static EFI_STATUS Push(OFFENDER_MESSAGE *Message) {
  UINT64 Stack[2];

  gOffenderTarget = Message->Benign ? (UINTN)&Stack[1] : Message->Argument[0];
  DoPush(gOffenderTarget);
  return EFI_SUCCESS;
}

static EFI_STATUS ByFlow(OFFENDER_MESSAGE *Message) {
  switch (Message->Case) {
  case OffendCallMmiManage:
    return Execute(Message, (UINTN)gMmst->MmiManage);
  case OffendCallWriteSaveState:
    return WriteSaveState(Message);
  case OffendPush:
    return Push(Message);
  case OffendRecurse:
    DoRecurse(Message->Benign ? BENIGN_DEPTH : Message->Argument[0]);
    return EFI_SUCCESS;
  case OffendLoop:
    DoLoop(Message->Benign ? BENIGN_ROUNDS : 0);
    return EFI_SUCCESS;
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS ByExecution(OFFENDER_MESSAGE *Message) {
  switch (Message->Case) {
  case OffendExecuteAddress:
    return Execute(Message, Message->Argument[0]);
  case OffendExecuteConstant:
    return Execute(Message, (UINTN)&mConstant);
  case OffendExecuteData:
    return Execute(Message, (UINTN)&mData);
  case OffendExecutePool:
    return ExecutePool(Message);
  case OffendExecuteStack:
    return ExecuteStack(Message);
  case OffendExecuteMessage:
    Message->Argument[7] = RET_BYTE;
    return Execute(Message, (UINTN)&Message->Argument[7]);
  default:
    return ByFlow(Message);
  }
}

EFI_STATUS OffendByMemory(OFFENDER_MESSAGE *Message) {
  switch (Message->Case) {
  case OffendReadAddress:
    return Read(Message, Message->Argument[0]);
  case OffendReadNull:
    return Read(Message, 0);
  case OffendReadNonCanonical:
    return Read(Message, NON_CANONICAL);
  case OffendReadImageHandle:
    return Read(Message, (UINTN)mImageHandle);
  case OffendReadDispatchHandle:
    return Read(Message, (UINTN)mDispatchHandle);
  case OffendWriteAddress:
    return Write(Message, Message->Argument[0]);
  case OffendWriteCode:
    return Write(Message, (UINTN)ReturnStub);
  case OffendWriteConstant:
    return Write(Message, (UINTN)&mConstant);
  case OffendWriteHob:
    return Write(Message, (UINTN)MmHobList());
  default:
    return ByExecution(Message);
  }
}
