/*
 * The supervisor's system calls: docs/reference/syscall-abi.md section 7. Nearly every refusal is fatal to the
 * whole system; the calls that answer with a status are marked.
 */
#ifndef MM_SYSCALL_H
#define MM_SYSCALL_H

#include <mm/base.h>

#define SMM_SC_RDMSR        0x00000 /* MSR -> value */
#define SMM_SC_WRMSR        0x00001 /* MSR, value */
#define SMM_SC_CLI          0x00002
#define SMM_SC_IO_READ      0x00003 /* port, MM_SC_WIDTH_* -> value */
#define SMM_SC_IO_WRITE     0x00004 /* port, MM_SC_WIDTH_*, value */
#define SMM_SC_WBINVD       0x00005
#define SMM_SC_HLT          0x00006
#define SMM_SC_SVST_READ    0x00007 /* CPU protocol, register, CPU index */
#define SMM_REG_HDL_JMP     0x10000 /* central jump pointer, AP jump pointer */
#define SMM_INST_CONF_T     0x10001 /* GUID, table, size */
#define SMM_ALOC_PAGE       0x10004 /* allocate type, memory type, pages -> address */
#define SMM_FREE_PAGE       0x10005 /* address, pages */
#define SMM_START_AP_PROC   0x10006 /* procedure, CPU, argument */
#define SMM_REG_HNDL        0x10007 /* handler, GUID or NULL -> dispatch handle */
#define SMM_UNREG_HNDL      0x10018 /* dispatch handle */
#define SMM_SET_CPL3_TBL    0x10019 /* MM system table */
#define SMM_INST_PROT       0x1001A /* GUID */
#define SMM_QRY_HOB         0x1001B /* -> hand-off block list or 0 */
#define SMM_ERR_RPT_JMP     0x1001C /* report routine */
#define SMM_MM_HDL_REG_1    0x1001D /* GUID, handler, caller's address */
#define SMM_MM_HDL_REG_2    0x1001E /* GUID, context, context size */
#define SMM_MM_HDL_UNREG_1  0x1001F /* GUID, handler */
#define SMM_MM_HDL_UNREG_2  0x10020 /* GUID, context, context size */
#define SMM_SC_SVST_READ_2  0x10021 /* CPU protocol, width, buffer -> EFI_STATUS */
#define SMM_MM_UNBLOCKED    0x10022 /* address, length -> BOOLEAN */
#define SMM_MM_IS_COMM_BUFF 0x10023 /* address, length -> EFI_STATUS */

/* Second argument of the I/O calls. */
#define MM_SC_WIDTH_8  0
#define MM_SC_WIDTH_16 1
#define MM_SC_WIDTH_32 2

/* The one door to ring 0; lib/syscall.S. */
UINT64 EFIAPI SysCall(UINTN CallIndex, UINTN Arg1, UINTN Arg2, UINTN Arg3);

static inline UINT8 MmIoRead8(UINT16 Port) { return (UINT8)SysCall(SMM_SC_IO_READ, Port, MM_SC_WIDTH_8, 0); }
static inline UINT16 MmIoRead16(UINT16 Port) { return (UINT16)SysCall(SMM_SC_IO_READ, Port, MM_SC_WIDTH_16, 0); }
static inline UINT32 MmIoRead32(UINT16 Port) { return (UINT32)SysCall(SMM_SC_IO_READ, Port, MM_SC_WIDTH_32, 0); }
static inline void MmIoWrite8(UINT16 Port, UINT8 Value) { SysCall(SMM_SC_IO_WRITE, Port, MM_SC_WIDTH_8, Value); }
static inline void MmIoWrite16(UINT16 Port, UINT16 Value) { SysCall(SMM_SC_IO_WRITE, Port, MM_SC_WIDTH_16, Value); }
static inline void MmIoWrite32(UINT16 Port, UINT32 Value) { SysCall(SMM_SC_IO_WRITE, Port, MM_SC_WIDTH_32, Value); }

static inline UINT64 MmReadMsr(UINT32 Msr) { return SysCall(SMM_SC_RDMSR, Msr, 0, 0); }
static inline void MmWriteMsr(UINT32 Msr, UINT64 Value) { SysCall(SMM_SC_WRMSR, Msr, Value, 0); }

/* Whether a range lies outside MMRAM in one unblocked region. FALSE for a message: that lies inside MMRAM. */
static inline BOOLEAN MmIsBufferOutsideMmValid(EFI_PHYSICAL_ADDRESS Address, UINT64 Length) {
  return (BOOLEAN)(SysCall(SMM_MM_UNBLOCKED, Address, Length, 0) != 0);
}

/* Whether a range lies in the supervisor's copy of the message: the check for a handler's own buffer. */
static inline BOOLEAN MmCommBufferValid(EFI_PHYSICAL_ADDRESS Address, UINT64 Length) {
  return (BOOLEAN)!EFI_ERROR(SysCall(SMM_MM_IS_COMM_BUFF, Address, Length, 0));
}

#endif
