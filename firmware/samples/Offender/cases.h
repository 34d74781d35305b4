/*
 * The cases of the Offender, each one number. What each must lead to is in sample.toml beside this file; a test
 * holds the two lists equal. Cases of the 0x300 group have their own SYSCALL instruction each, At<Name>, so that a
 * stop names its case by its address; calls.S makes these stubs from the same list.
 */
#ifndef OFFENDER_CASES_H
#define OFFENDER_CASES_H

/* clang-format off */
#define OFFENDER_INSTRUCTION_CASES(X) \
  X(0x101, In) \
  X(0x102, Out) \
  X(0x103, InString) \
  X(0x104, OutString) \
  X(0x105, ReadMsr) \
  X(0x106, WriteMsr) \
  X(0x107, Cli) \
  X(0x108, Sti) \
  X(0x109, Hlt) \
  X(0x10A, Wbinvd) \
  X(0x10B, Invd) \
  X(0x10C, ReadCr0) \
  X(0x10D, WriteCr3) \
  X(0x10E, ReadDr7) \
  X(0x10F, LoadGdt) \
  X(0x110, LoadIdt) \
  X(0x111, LoadTask) \
  X(0x112, StoreGdt) \
  X(0x113, InvalidatePage) \
  X(0x114, ClearTaskSwitched) \
  X(0x115, SwapGs) \
  X(0x116, SysReturn) \
  X(0x117, ReadCounter) \
  X(0x118, ReadXcr0) \
  X(0x119, ReadFsBase) \
  X(0x11A, Avx) \
  X(0x11B, Breakpoint) \
  X(0x11C, Interrupt80) \
  X(0x11D, Undefined) \
  X(0x11E, Divide) \
  X(0x11F, UnalignedSse) \
  X(0x120, JumpNonCanonical) \
  X(0x121, FarCall) \
  X(0x122, FarReturn) \
  X(0x123, InterruptReturn)

#define OFFENDER_MEMORY_CASES(X) \
  X(0x201, ReadAddress) \
  X(0x202, WriteAddress) \
  X(0x203, ExecuteAddress) \
  X(0x204, ReadNull) \
  X(0x205, ReadNonCanonical) \
  X(0x206, ReadImageHandle) \
  X(0x207, ReadDispatchHandle) \
  X(0x208, WriteCode) \
  X(0x209, WriteConstant) \
  X(0x20A, WriteHob) \
  X(0x20B, ExecuteConstant) \
  X(0x20C, ExecuteData) \
  X(0x20D, ExecutePool) \
  X(0x20E, ExecuteStack) \
  X(0x20F, ExecuteMessage) \
  X(0x210, CallMmiManage) \
  X(0x211, CallWriteSaveState) \
  X(0x212, Push) \
  X(0x213, Recurse) \
  X(0x214, Loop)

#define OFFENDER_CALL_CASES(X) \
  X(0x301, ProcessorRead) \
  X(0x302, ProcessorWrite) \
  X(0x303, LegacyLimit) \
  X(0x304, NumberGapStart) \
  X(0x305, NumberGapEnd) \
  X(0x306, NumberPastEnd) \
  X(0x307, NumberWide) \
  X(0x308, AllocatePool) \
  X(0x309, FreePool) \
  X(0x310, RegisterJumpTwice) \
  X(0x311, SetTableTwice) \
  X(0x312, ConfigurationDelete) \
  X(0x313, ConfigurationGuid) \
  X(0x314, ProtocolGuid) \
  X(0x315, ErrorReportPointer) \
  X(0x316, ProfileRegister) \
  X(0x317, ProfileUnregister) \
  X(0x318, ConfigurationTable) \
  X(0x320, AllocateCode) \
  X(0x321, AllocateType) \
  X(0x322, AllocateMaxAddress) \
  X(0x323, AllocateAtAddress) \
  X(0x324, AllocateTooMany) \
  X(0x325, FreeForeign) \
  X(0x326, FreeNothing) \
  X(0x327, FreeOverflow) \
  X(0x330, ApSelf) \
  X(0x331, ApAbsent) \
  X(0x332, ApProcedure) \
  X(0x333, ApArgument) \
  X(0x340, HandlerPointer) \
  X(0x341, HandlerGuid) \
  X(0x342, HandlerHandle) \
  X(0x350, SaveStateCookie) \
  X(0x351, SaveStateRegister) \
  X(0x352, SaveStateCpu) \
  X(0x353, SaveStateDataCookie) \
  X(0x354, SaveStateBuffer) \
  X(0x355, SaveStateWidth) \
  X(0x360, PortWidth) \
  X(0x361, PortNumber) \
  X(0x362, PortEnd) \
  X(0x363, PortDenied) \
  X(0x364, MsrDenied)
/* clang-format on */

#define OFFENDER_CASES(X) \
  OFFENDER_INSTRUCTION_CASES(X) OFFENDER_MEMORY_CASES(X) OFFENDER_CALL_CASES(X)

#ifndef __ASSEMBLER__

/* Case 0 offends nothing: it answers with the addresses that other cases need (OFFENDER_REPORT_*). */
#define OFFENDER_NUMBER(number, name) Offend##name = number,
typedef enum { OffendReport = 0, OFFENDER_CASES(OFFENDER_NUMBER) } OFFENDER_CASE;
#undef OFFENDER_NUMBER

#endif
#endif
