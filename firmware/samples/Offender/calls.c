/*
 * Cases 0x3xx: system calls that the supervisor refuses, which is fatal each time (docs/reference/syscall-abi.md
 * section 6). Offence and twin go through the same SYSCALL instruction. Where a call cannot be repeated lawfully,
 * the twin is the one call that never fails, SMM_QRY_HOB.
 */
#include <mm/cpu.h>
#include <mm/guids.h>

#include "offender.h"

typedef UINT64(EFIAPI *CALL_STUB)(UINT64 Index, UINT64 Arg1, UINT64 Arg2, UINT64 Arg3);

#define OFFENDER_DECLARE(number, name) UINT64 EFIAPI Call##name(UINT64 Index, UINT64 Arg1, UINT64 Arg2, UINT64 Arg3);
OFFENDER_CALL_CASES(OFFENDER_DECLARE)
#undef OFFENDER_DECLARE

typedef struct {
  UINT64 Index;
  UINT64 Arg1;
  UINT64 Arg2;
  UINT64 Arg3;
} CALL;

static const CALL mHarmless = {SMM_QRY_HOB, 0, 0, 0};

static UINT64 mTable;

static EFI_STATUS Issue(OFFENDER_MESSAGE *Message, CALL_STUB Stub, CALL Offence, CALL Twin) {
  CALL Chosen = Message->Benign ? Twin : Offence;

  Message->Result = Stub(Chosen.Index, Chosen.Arg1, Chosen.Arg2, Chosen.Arg3);
  return EFI_SUCCESS;
}

/* A case: its name, then the two calls. */
#define CASE(name, offence, twin) \
  case Offend##name:              \
    return Issue(Message, Call##name, offence, twin)
#define AS(...)                  AS_FOUR(__VA_ARGS__, 0, 0, 0, 0)
#define AS_FOUR(a, b, c, d, ...) ((CALL){a, b, c, d})

/* Numbers that no call has, calls that are gone, and calls that may be made once. */
static EFI_STATUS ByNumber(OFFENDER_MESSAGE *Message) {
  switch (Message->Case) {
    CASE(ProcessorRead, AS(0x8), mHarmless);
    CASE(ProcessorWrite, AS(0x9), mHarmless);
    CASE(LegacyLimit, AS(0xFFFF), mHarmless);
    CASE(NumberGapStart, AS(0x10008), mHarmless);
    CASE(NumberGapEnd, AS(0x10017), mHarmless);
    CASE(NumberPastEnd, AS(0x10024), mHarmless);
    CASE(NumberWide, AS(0x100000000ULL | SMM_QRY_HOB), mHarmless);
    CASE(AllocatePool, AS(0x10002, EfiRuntimeServicesData, 64), mHarmless);
    CASE(FreePool, AS(0x10003, (UINTN)&mTable), mHarmless);
    CASE(RegisterJumpTwice, AS(SMM_REG_HDL_JMP, (UINTN)ReturnStub, (UINTN)ReturnStub), mHarmless);
    CASE(SetTableTwice, AS(SMM_SET_CPL3_TBL, (UINTN)gMmst), mHarmless);
    CASE(ErrorReportPointer, AS(SMM_ERR_RPT_JMP, (UINTN)mDispatchHandle), mHarmless);
    CASE(ProfileRegister, AS(SMM_MM_HDL_REG_1, (UINTN)&gSampleOffenderHandlerGuid, (UINTN)ReturnStub), mHarmless);
    CASE(ProfileUnregister, AS(SMM_MM_HDL_UNREG_1, (UINTN)&gSampleOffenderHandlerGuid, (UINTN)ReturnStub), mHarmless);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS ByPointer(OFFENDER_MESSAGE *Message) {
  UINT64 Guid = (UINTN)&gSampleOffenderProtocolGuid;
  UINT64 Supervisor = (UINTN)mDispatchHandle;
  CALL   Configuration = {SMM_INST_CONF_T, Guid, (UINTN)&mTable, sizeof mTable};

  switch (Message->Case) {
    CASE(ConfigurationDelete, AS(SMM_INST_CONF_T, Guid), Configuration);
    CASE(ConfigurationGuid, AS(SMM_INST_CONF_T, Supervisor, (UINTN)&mTable, sizeof mTable), Configuration);
    CASE(ConfigurationTable, AS(SMM_INST_CONF_T, Guid, Supervisor, sizeof mTable), Configuration);
    CASE(ProtocolGuid, AS(SMM_INST_PROT, Supervisor), AS(SMM_INST_PROT, Guid));
  default:
    return ByNumber(Message);
  }
}

static EFI_STATUS ByAllocation(OFFENDER_MESSAGE *Message) {
  CALL       Lawful = {SMM_ALOC_PAGE, AllocateAnyPages, EfiRuntimeServicesData, 1};
  EFI_STATUS Status = EFI_UNSUPPORTED;

  switch (Message->Case) {
  case OffendAllocateCode:
    Status = Issue(Message, CallAllocateCode, AS(SMM_ALOC_PAGE, AllocateAnyPages, EfiRuntimeServicesCode, 1), Lawful);
    break;
  case OffendAllocateType:
    Status = Issue(Message, CallAllocateType, AS(SMM_ALOC_PAGE, AllocateAnyPages, EfiBootServicesData, 1), Lawful);
    break;
  case OffendAllocateMaxAddress:
    Status = Issue(Message, CallAllocateMaxAddress, AS(SMM_ALOC_PAGE, AllocateMaxAddress, EfiRuntimeServicesData, 1),
                   Lawful);
    break;
  case OffendAllocateAtAddress:
    Status = Issue(Message, CallAllocateAtAddress, AS(SMM_ALOC_PAGE, AllocateAddress, EfiRuntimeServicesData, 1),
                   Lawful);
    break;
  case OffendAllocateTooMany:
    Status = Issue(Message, CallAllocateTooMany,
                   AS(SMM_ALOC_PAGE, AllocateAnyPages, EfiRuntimeServicesData, 0x100000000ULL), Lawful);
    break;
  default:
    return Status;
  }
  SysCall(SMM_FREE_PAGE, Message->Result, 1, 0); /* only a twin gets here */
  return Status;
}

static EFI_STATUS ByFree(OFFENDER_MESSAGE *Message) {
  UINT64 Page = SysCall(SMM_ALOC_PAGE, AllocateAnyPages, EfiRuntimeServicesData, 1);
  UINT64 Supervisor = (UINTN)mDispatchHandle & ~(EFI_PAGE_SIZE - 1);
  CALL   Lawful = {SMM_FREE_PAGE, Page, 1, 0};

  switch (Message->Case) {
    CASE(FreeForeign, AS(SMM_FREE_PAGE, Supervisor, 1), Lawful);
    CASE(FreeNothing, AS(SMM_FREE_PAGE, Page, 0), Lawful);
    CASE(FreeOverflow, AS(SMM_FREE_PAGE, Page, 1ULL << 52), Lawful);
  default:
    return EFI_UNSUPPORTED;
  }
}

static void EFIAPI ApProcedure(void *Argument) { ++*(volatile UINT64 *)Argument; }

/* The twin starts the procedure on the CPU that the message names; that must be an idle application processor. */
static EFI_STATUS ByAp(OFFENDER_MESSAGE *Message) {
  UINT64 Procedure = (UINTN)ApProcedure;
  UINT64 Argument = (UINTN)&mTable;
  UINT64 Ap = Message->Argument[0];
  UINT64 Supervisor = (UINTN)mDispatchHandle;
  CALL   Lawful = {SMM_START_AP_PROC, Procedure, Ap, Argument};

  switch (Message->Case) {
    CASE(ApSelf, AS(SMM_START_AP_PROC, Procedure, gMmst->CurrentlyExecutingCpu, Argument), Lawful);
    CASE(ApAbsent, AS(SMM_START_AP_PROC, Procedure, gMmst->NumberOfCpus, Argument), Lawful);
    CASE(ApProcedure, AS(SMM_START_AP_PROC, Supervisor, Ap, Argument), Lawful);
    CASE(ApArgument, AS(SMM_START_AP_PROC, Procedure, Ap, Supervisor), Lawful);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI NoHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                   UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  return EFI_SUCCESS;
}

static EFI_STATUS ByHandler(OFFENDER_MESSAGE *Message) {
  UINT64 Handler = (UINTN)NoHandler;
  UINT64 Guid = (UINTN)&gSampleOffenderProtocolGuid;
  UINT64 Supervisor = (UINTN)mDispatchHandle;
  CALL   Lawful = {SMM_REG_HNDL, Handler, Guid, 0};
  UINT64 Registered;

  switch (Message->Case) {
  case OffendHandlerPointer:
    Issue(Message, CallHandlerPointer, AS(SMM_REG_HNDL, Supervisor, Guid), Lawful);
    break;
  case OffendHandlerGuid:
    Issue(Message, CallHandlerGuid, AS(SMM_REG_HNDL, Handler, Supervisor), Lawful);
    break;
  case OffendHandlerHandle:
    Registered = Message->Benign ? SysCall(SMM_REG_HNDL, Handler, Guid, 0) : 0;
    return Issue(Message, CallHandlerHandle, AS(SMM_UNREG_HNDL, (UINTN)&mTable), AS(SMM_UNREG_HNDL, Registered));
  default:
    return EFI_UNSUPPORTED;
  }
  SysCall(SMM_UNREG_HNDL, Message->Result, 0, 0); /* only a twin gets here */
  return EFI_SUCCESS;
}

static EFI_STATUS BySaveState(OFFENDER_MESSAGE *Message) {
  UINT64 Cookie = (UINTN)MmLocate(&gEfiMmCpuProtocolGuid);
  UINT64 Cpu = gMmst->CurrentlyExecutingCpu;
  UINT64 Register = EFI_MM_SAVE_STATE_REGISTER_PROCESSOR_ID;
  UINT64 Buffer = (UINTN)&mTable;
  CALL   Request = {SMM_SC_SVST_READ, Cookie, Register, Cpu};
  CALL   Fetch = {SMM_SC_SVST_READ_2, Cookie, sizeof mTable, Buffer};

  switch (Message->Case) {
    CASE(SaveStateCookie, AS(SMM_SC_SVST_READ, 0, Register, Cpu), Request);
    CASE(SaveStateRegister, AS(SMM_SC_SVST_READ, Cookie, Register + 1, Cpu), Request);
    CASE(SaveStateCpu, AS(SMM_SC_SVST_READ, Cookie, Register, gMmst->NumberOfCpus), Request);
  default:
    break;
  }

  SysCall(SMM_SC_SVST_READ, Cookie, Register, Cpu);
  switch (Message->Case) {
    CASE(SaveStateDataCookie, AS(SMM_SC_SVST_READ_2, 0, sizeof mTable, Buffer), Fetch);
    CASE(SaveStateBuffer, AS(SMM_SC_SVST_READ_2, Cookie, sizeof mTable, (UINTN)mDispatchHandle), Fetch);
    CASE(SaveStateWidth, AS(SMM_SC_SVST_READ_2, Cookie, 0, Buffer), Fetch);
  default:
    return EFI_UNSUPPORTED;
  }
}

/*
 * Denied by the example policy: writing 0xCF8 with 32 bits, and EFER. Twins read the same port, or the port or MSR
 * that the message names.
 */
static EFI_STATUS ByPolicy(OFFENDER_MESSAGE *Message) {
  UINT64 Given = Message->Argument[0];
  CALL   Read = {SMM_SC_IO_READ, Given, MM_SC_WIDTH_8, 0};

  switch (Message->Case) {
    CASE(PortWidth, AS(SMM_SC_IO_READ, Given, 3), Read);
    CASE(PortNumber, AS(SMM_SC_IO_READ, 0x10000, MM_SC_WIDTH_8), Read);
    CASE(PortEnd, AS(SMM_SC_IO_READ, 0xFFFF, MM_SC_WIDTH_16), Read);
    CASE(PortDenied, AS(SMM_SC_IO_WRITE, 0xCF8, MM_SC_WIDTH_32, 0x80000000), AS(SMM_SC_IO_READ, 0xCF8, MM_SC_WIDTH_32));
    CASE(MsrDenied, AS(SMM_SC_RDMSR, 0xC0000080), AS(SMM_SC_RDMSR, Given));
  default:
    return EFI_UNSUPPORTED;
  }
}

EFI_STATUS OffendByCall(OFFENDER_MESSAGE *Message) {
  switch (Message->Case >> 4) {
  case 0x30:
  case 0x31:
    return ByPointer(Message);
  case 0x32:
    return Message->Case < OffendFreeForeign ? ByAllocation(Message) : ByFree(Message);
  case 0x33:
    return ByAp(Message);
  case 0x34:
    return ByHandler(Message);
  case 0x35:
    return BySaveState(Message);
  case 0x36:
    return ByPolicy(Message);
  default:
    return EFI_UNSUPPORTED;
  }
}
