/*
 * Script: does what its message says, step by step: system calls with any arguments, reads, writes, copies, jumps.
 * Attacks of several steps are data for this driver, and so are their benign twins. What was in gScriptStored in the
 * built image is run by the entry point; ScriptStoredHandler runs what was copied there since.
 */
#include "../sample.h"

#define SCRIPT_RESULTS    16
#define SCRIPT_STEPS      16
#define SCRIPT_STEP_WORDS 5 /* operation and flags, four operands */
#define SCRIPT_WORDS      (SCRIPT_STEPS * SCRIPT_STEP_WORDS)

typedef struct {
  UINT64 Status;                 /* out: EFI_SUCCESS after the last step */
  UINT64 Count;                  /* steps; bits 63 to 32: those behind them that ScriptRemote runs */
  UINT64 Return;                 /* what the handler returns */
  UINT64 Result[SCRIPT_RESULTS]; /* of each step, by its number */
  UINT64 Step[SCRIPT_WORDS];
} SCRIPT_MESSAGE;

MM_STATIC_ASSERT(sizeof(SCRIPT_MESSAGE) == 792);

/* operations.S */
UINT64 EFIAPI DoCall(UINT64 Number, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoCallOn(UINT64 Number, UINT64 A1, UINT64 A2, UINT64 StackPointer);
UINT64 EFIAPI DoCallFlags(UINT64 Number, UINT64 A1, UINT64 A2, UINT64 Flags);
UINT64 EFIAPI DoRead(UINT64 Address, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoWrite(UINT64 Address, UINT64 Value, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoCopy(UINT64 Destination, UINT64 Source, UINT64 Count, UINT64 A3);
UINT64 EFIAPI DoFill(UINT64 Destination, UINT64 Value, UINT64 Count, UINT64 A3);
UINT64 EFIAPI DoReadVector(UINT64 Address, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoWriteVector(UINT64 Address, UINT64 Value, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoAdd(UINT64 Address, UINT64 Value, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoInvoke(UINT64 Target, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoJump(UINT64 Target, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoPush(UINT64 StackPointer, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoSave(UINT64 Address, UINT64 A1, UINT64 A2, UINT64 A3);
UINT64 EFIAPI DoLeave(UINT64 Status, UINT64 FarPointer, UINT64 A2, UINT64 A3);
void EFIAPI   ScriptReturn(void);

typedef UINT64(EFIAPI *OPERATION)(UINT64 A0, UINT64 A1, UINT64 A2, UINT64 A3);

/* In the order of the operations' numbers, which begin at 1. */
static const OPERATION mOperations[] = {
    DoCall,       DoCallOn,      DoCallFlags, DoRead,   DoWrite, DoCopy, DoFill,
    DoReadVector, DoWriteVector, DoAdd,       DoInvoke, DoJump,  DoPush, DoSave, DoLeave,
};

SCRIPT_MESSAGE  gScriptStored = {.Status = 1};
volatile UINT64 gScriptData[1024];

/* An operand, or with its flag set the result of a step (bits 7 to 0) plus a distance (the bits above). */
static UINT64 Operand(const SCRIPT_MESSAGE *Script, const UINT64 *Step, UINTN Index) {
  UINT64 Value = Step[1 + Index];

  return (Step[0] >> (8 + Index) & 1) != 0 ? Script->Result[Value % SCRIPT_RESULTS] + (Value >> 8) : Value;
}

static EFI_STATUS RunSteps(SCRIPT_MESSAGE *Script, UINTN First, UINTN Last) {
  for (UINTN Number = First; Number < Last; Number++) {
    const UINT64 *Step = &Script->Step[Number * SCRIPT_STEP_WORDS];
    UINT64        Operation = Step[0] & 0xFF;

    if (Operation == 0 || Operation > ARRAY_COUNT(mOperations)) {
      return EFI_UNSUPPORTED;
    }
    for (UINT64 Round = 0; Round <= Step[0] >> 32; Round++) {
      Script->Result[Number] = mOperations[Operation - 1](Operand(Script, Step, 0), Operand(Script, Step, 1),
                                                          Operand(Script, Step, 2), Operand(Script, Step, 3));
    }
  }
  return EFI_SUCCESS;
}

static EFI_STATUS Run(SCRIPT_MESSAGE *Script) {
  UINTN Own = Script->Count & 0xFFFFFFFF;

  return Own > SCRIPT_STEPS ? EFI_INVALID_PARAMETER : RunSteps(Script, 0, Own);
}

/* An AP procedure: the steps behind the BSP's own. */
void EFIAPI ScriptRemote(void *Buffer) {
  SCRIPT_MESSAGE *Script = Buffer;
  UINTN           Own = Script->Count & 0xFFFFFFFF;
  UINTN           End = Own + (Script->Count >> 32);

  if (End <= SCRIPT_STEPS) {
    Script->Status = RunSteps(Script, Own, End);
  }
}

static EFI_STATUS EFIAPI ScriptHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                       UINTN *CommBufferSize) {
  SCRIPT_MESSAGE *Script = CommBuffer;
  EFI_STATUS      Status;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Script)) {
    return EFI_INVALID_PARAMETER;
  }
  Status = Run(Script);
  Script->Status = Status;
  return Script->Return;
}

/* Registered by scripts, for messages or as a root handler: runs what is stored, whatever it is called with. */
EFI_STATUS EFIAPI ScriptStoredHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                      UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  gScriptStored.Status = Run(&gScriptStored);
  return gScriptStored.Return;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  EFI_STATUS Status;

  gScriptData[0] = (UINTN)ImageHandle;
  gScriptData[1] = (UINTN)MmSystemTable;
  gScriptData[2] = (UINTN)ScriptRemote;
  gScriptData[3] = (UINTN)ScriptStoredHandler;
  gScriptData[4] = (UINTN)ScriptReturn;
  Status = SampleRegister(ScriptHandler, &gSampleScriptHandlerGuid, NULL);
  return EFI_ERROR(Status) ? Status : Run(&gScriptStored);
}
