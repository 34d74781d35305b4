/*
 * The MM system table that drivers get, and its services that are system calls and little else:
 * docs/reference/gmmst.md sections 1 and 2. It lies in writable data: the supervisor writes the CPU fields at every
 * MMI, and the CPU I/O driver puts its functions over the MmIo stubs.
 */
#include <mm/syscall.h>

#include "broker.h"

/* BROKER_MMST_REVISION: the build chooses the generation, MM_MMST_REVISION_*. */
#ifndef BROKER_MMST_REVISION
#define BROKER_MMST_REVISION MM_MMST_REVISION_CURRENT
#endif

static EFI_STATUS EFIAPI InstallConfigurationTable(const EFI_MM_SYSTEM_TABLE *SystemTable, const EFI_GUID *Guid,
                                                   void *Table, UINTN TableSize) {
  (void)SystemTable;
  SysCall(SMM_INST_CONF_T, (UINTN)Guid, (UINTN)Table, TableSize); /* into the supervisor's table, not this one */
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI IoNotAvailable(const EFI_MM_CPU_IO_PROTOCOL *This, EFI_MM_IO_WIDTH Width, UINT64 Address,
                                        UINTN Count, void *Buffer) {
  (void)This;
  (void)Width;
  (void)Address;
  (void)Count;
  (void)Buffer;
  return EFI_NOT_AVAILABLE_YET;
}

static EFI_STATUS EFIAPI StartupThisAp(EFI_AP_PROCEDURE Procedure, UINTN CpuNumber, void *ProcArguments) {
  SysCall(SMM_START_AP_PROC, (UINTN)Procedure, CpuNumber, (UINTN)ProcArguments);
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI RegisterHandler(EFI_MM_HANDLER_ENTRY_POINT Handler, const EFI_GUID *HandlerType,
                                         EFI_HANDLE *DispatchHandle) {
  if (DispatchHandle == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  *DispatchHandle = (EFI_HANDLE)SysCall(SMM_REG_HNDL, (UINTN)Handler, (UINTN)HandlerType, 0);
  return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI UnregisterHandler(EFI_HANDLE DispatchHandle) {
  SysCall(SMM_UNREG_HNDL, (UINTN)DispatchHandle, 0, 0);
  return EFI_SUCCESS;
}

EFI_MM_SYSTEM_TABLE gBrokerMmst = {
  .Hdr = {.Signature = MM_MMST_SIGNATURE, .Revision = BROKER_MMST_REVISION, .HeaderSize = sizeof(EFI_TABLE_HEADER)},
  .MmInstallConfigurationTable = InstallConfigurationTable,
  .MmIo = {{IoNotAvailable, IoNotAvailable}, {IoNotAvailable, IoNotAvailable}},
  .MmAllocatePool = BrokerAllocatePool,
  .MmFreePool = BrokerFreePool,
  .MmAllocatePages = BrokerAllocatePages,
  .MmFreePages = BrokerFreePages,
  .MmStartupThisAp = StartupThisAp,
  .MmInstallProtocolInterface = BrokerInstallProtocol,
  .MmUninstallProtocolInterface = BrokerUninstallProtocol,
  .MmHandleProtocol = BrokerHandleProtocol,
  .MmRegisterProtocolNotify = BrokerRegisterProtocolNotify,
  .MmLocateHandle = BrokerLocateHandle,
  .MmLocateProtocol = BrokerLocateProtocol,
  .MmiManage = NULL, /* only the supervisor dispatches */
  .MmiHandlerRegister = RegisterHandler,
  .MmiHandlerUnRegister = UnregisterHandler,
};
