/* Cases 0x1xx: instructions. The twin of a privileged one is the system call for it, where there is one. */
#include <mm/hob.h>

#include "offender.h"

typedef UINT64(EFIAPI *INSTRUCTION)(UINT64 First, UINT64 Second);

#define OFFENDER_DECLARE(number, name) UINT64 EFIAPI Do##name(UINT64 First, UINT64 Second);
OFFENDER_INSTRUCTION_CASES(OFFENDER_DECLARE)
#undef OFFENDER_DECLARE

/* What LGDT, LIDT and SGDT take: an empty descriptor table. */
typedef struct __attribute__((packed)) {
  UINT16 Limit;
  UINT64 Base;
} DESCRIPTOR;

static UINT64 ByPort(OFFENDER_MESSAGE *Message, UINT64 Port, UINT64 Value) {
  UINT8 Byte = (UINT8)Value;

  switch (Message->Case) {
  case OffendIn:
    return Message->Benign ? MmIoRead8((UINT16)Port) : DoIn(Port, 0);
  case OffendOut:
    return Message->Benign ? SysCall(SMM_SC_IO_WRITE, Port, MM_SC_WIDTH_8, Byte) : DoOut(Port, Byte);
  case OffendInString:
    return Message->Benign ? MmIoRead8((UINT16)Port) : DoInString(Port, (UINTN)&Byte);
  default: /* OffendOutString */
    return Message->Benign ? SysCall(SMM_SC_IO_WRITE, Port, MM_SC_WIDTH_8, Byte) : DoOutString(Port, (UINTN)&Byte);
  }
}

/* The same instruction, with an operand that suits ring 3 when benign. */
static UINT64 ByOperand(OFFENDER_MESSAGE *Message, UINT64 Given) {
  static const UINT64 Aligned[4] __attribute__((aligned(16)));

  switch (Message->Case) {
  case OffendDivide:
    return DoDivide(Message->Benign ? 10 : 0, 0);
  case OffendUnalignedSse:
    DoUnalignedSse((UINTN)Aligned + (Message->Benign ? 0 : 8), 0);
    return 0;
  default: /* OffendJumpNonCanonical */
    DoJumpNonCanonical(Message->Benign ? (UINTN)ReturnStub : Given, 0);
    return 0;
  }
}

/* Instructions with a system call beside them. */
static UINT64 ByGate(OFFENDER_MESSAGE *Message, UINT64 Number, UINT64 Value) {
  static const struct {
    UINT32      Case;
    UINTN       Call;
    INSTRUCTION Do;
  } Gates[] = {
      {OffendReadMsr, SMM_SC_RDMSR, DoReadMsr}, {OffendWriteMsr, SMM_SC_WRMSR, DoWriteMsr},
      {OffendCli, SMM_SC_CLI, DoCli},           {OffendHlt, SMM_SC_HLT, DoHlt},
      {OffendWbinvd, SMM_SC_WBINVD, DoWbinvd},  {OffendInvd, SMM_SC_WBINVD, DoInvd},
  };

  for (UINTN Index = 0; Index < ARRAY_COUNT(Gates); Index++) {
    if (Gates[Index].Case == Message->Case) {
      return Message->Benign ? SysCall(Gates[Index].Call, Number, Value, 0) : Gates[Index].Do(Number, Value);
    }
  }
  return 0;
}

/* Instructions that ring 3 can do without: the twin does nothing. */
static EFI_STATUS ByAbstaining(OFFENDER_MESSAGE *Message, UINT64 Given) {
  static const struct {
    UINT32      Case;
    INSTRUCTION Do;
  } Instructions[] = {
      {OffendSti, DoSti},
      {OffendReadCr0, DoReadCr0},
      {OffendReadDr7, DoReadDr7},
      {OffendClearTaskSwitched, DoClearTaskSwitched},
      {OffendSwapGs, DoSwapGs},
      {OffendSysReturn, DoSysReturn},
      {OffendReadCounter, DoReadCounter},
      {OffendReadXcr0, DoReadXcr0},
      {OffendReadFsBase, DoReadFsBase},
      {OffendAvx, DoAvx},
      {OffendBreakpoint, DoBreakpoint},
      {OffendInterrupt80, DoInterrupt80},
      {OffendUndefined, DoUndefined},
      {OffendWriteCr3, DoWriteCr3},
      {OffendLoadTask, DoLoadTask},
      {OffendFarCall, DoFarCall},
      {OffendFarReturn, DoFarReturn},
      {OffendInterruptReturn, DoInterruptReturn},
  };

  for (UINTN Index = 0; Index < ARRAY_COUNT(Instructions); Index++) {
    if (Instructions[Index].Case == Message->Case) {
      Message->Result = Message->Benign ? 0 : Instructions[Index].Do(Given, 0);
      return EFI_SUCCESS;
    }
  }
  return EFI_UNSUPPORTED;
}

static void ByDescriptor(OFFENDER_MESSAGE *Message) {
  DESCRIPTOR Descriptor = {0, 0};

  if (Message->Benign) {
    return;
  }
  switch (Message->Case) {
  case OffendLoadGdt:
    DoLoadGdt((UINTN)&Descriptor, 0);
    break;
  case OffendLoadIdt:
    DoLoadIdt((UINTN)&Descriptor, 0);
    break;
  case OffendStoreGdt:
    DoStoreGdt((UINTN)&Descriptor, 0);
    Message->Result = Descriptor.Base;
    break;
  default: /* OffendInvalidatePage */
    DoInvalidatePage((UINTN)&Descriptor, 0);
    break;
  }
}

EFI_STATUS OffendByInstruction(OFFENDER_MESSAGE *Message) {
  UINT64 First = Message->Argument[0];
  UINT64 Second = Message->Argument[1];

  switch (Message->Case) {
  case OffendIn:
  case OffendOut:
  case OffendInString:
  case OffendOutString:
    Message->Result = ByPort(Message, First, Second);
    return EFI_SUCCESS;
  case OffendReadMsr:
  case OffendWriteMsr:
  case OffendCli:
  case OffendHlt:
  case OffendWbinvd:
  case OffendInvd:
    Message->Result = ByGate(Message, First, Second);
    return EFI_SUCCESS;
  case OffendDivide:
  case OffendUnalignedSse:
  case OffendJumpNonCanonical:
    Message->Result = ByOperand(Message, First);
    return EFI_SUCCESS;
  case OffendLoadGdt:
  case OffendLoadIdt:
  case OffendStoreGdt:
  case OffendInvalidatePage:
    ByDescriptor(Message);
    return EFI_SUCCESS;
  default:
    return ByAbstaining(Message, First);
  }
}
