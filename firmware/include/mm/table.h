/*
 * The MM System Table, PI 1.8 volume 4 chapter 3. Offsets as ring-3 drivers see them: docs/reference/gmmst.md
 * section 1. A traditional driver's EFI_SMM_SYSTEM_TABLE2 has the same bytes under other names.
 */
#ifndef MM_TABLE_H
#define MM_TABLE_H

#include <mm/base.h>

#define MM_MMST_SIGNATURE SIGNATURE_32('S', 'M', 'S', 'T')

/* Revisions of the table: (1 << 16) | minor. */
#define MM_MMST_REVISION_MU_BASECORE 0x0001003C
#define MM_MMST_REVISION_CURRENT     0x00010050

typedef struct EFI_MM_SYSTEM_TABLE EFI_MM_SYSTEM_TABLE;
typedef struct EFI_MM_CPU_IO_PROTOCOL EFI_MM_CPU_IO_PROTOCOL;

typedef enum { MM_IO_UINT8, MM_IO_UINT16, MM_IO_UINT32, MM_IO_UINT64 } EFI_MM_IO_WIDTH;

typedef EFI_STATUS(EFIAPI *EFI_MM_CPU_IO)(const EFI_MM_CPU_IO_PROTOCOL *This, EFI_MM_IO_WIDTH Width, UINT64 Address,
                                          UINTN Count, void *Buffer);

typedef struct {
  EFI_MM_CPU_IO Read;
  EFI_MM_CPU_IO Write;
} EFI_MM_IO_ACCESS;

struct EFI_MM_CPU_IO_PROTOCOL {
  EFI_MM_IO_ACCESS Mem;
  EFI_MM_IO_ACCESS Io;
};

MM_STATIC_ASSERT(sizeof(EFI_MM_CPU_IO_PROTOCOL) == 0x20);

typedef void(EFIAPI *EFI_AP_PROCEDURE)(void *Buffer);

typedef EFI_STATUS(EFIAPI *EFI_MM_NOTIFY_FN)(const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle);

typedef EFI_STATUS(EFIAPI *EFI_MM_HANDLER_ENTRY_POINT)(EFI_HANDLE DispatchHandle, const void *Context,
                                                       void *CommBuffer, UINTN *CommBufferSize);

typedef EFI_STATUS(EFIAPI *EFI_MM_INSTALL_CONFIGURATION_TABLE)(const EFI_MM_SYSTEM_TABLE *SystemTable,
                                                               const EFI_GUID *Guid, void *Table, UINTN TableSize);
typedef EFI_STATUS(EFIAPI *EFI_MM_ALLOCATE_POOL)(EFI_MEMORY_TYPE PoolType, UINTN Size, void **Buffer);
typedef EFI_STATUS(EFIAPI *EFI_MM_FREE_POOL)(void *Buffer);
typedef EFI_STATUS(EFIAPI *EFI_MM_ALLOCATE_PAGES)(EFI_ALLOCATE_TYPE Type, EFI_MEMORY_TYPE MemoryType,
                                                  UINTN NumberOfPages, EFI_PHYSICAL_ADDRESS *Memory);
typedef EFI_STATUS(EFIAPI *EFI_MM_FREE_PAGES)(EFI_PHYSICAL_ADDRESS Memory, UINTN NumberOfPages);
typedef EFI_STATUS(EFIAPI *EFI_MM_STARTUP_THIS_AP)(EFI_AP_PROCEDURE Procedure, UINTN CpuNumber, void *ProcArguments);
typedef EFI_STATUS(EFIAPI *EFI_MM_INSTALL_PROTOCOL_INTERFACE)(EFI_HANDLE *Handle, const EFI_GUID *Protocol,
                                                              EFI_INTERFACE_TYPE InterfaceType, void *Interface);
typedef EFI_STATUS(EFIAPI *EFI_MM_UNINSTALL_PROTOCOL_INTERFACE)(EFI_HANDLE Handle, const EFI_GUID *Protocol,
                                                                void *Interface);
typedef EFI_STATUS(EFIAPI *EFI_MM_HANDLE_PROTOCOL)(EFI_HANDLE Handle, const EFI_GUID *Protocol, void **Interface);
typedef EFI_STATUS(EFIAPI *EFI_MM_REGISTER_PROTOCOL_NOTIFY)(const EFI_GUID *Protocol, EFI_MM_NOTIFY_FN Function,
                                                            void **Registration);
typedef EFI_STATUS(EFIAPI *EFI_MM_LOCATE_HANDLE)(EFI_LOCATE_SEARCH_TYPE SearchType, const EFI_GUID *Protocol,
                                                 void *SearchKey, UINTN *BufferSize, EFI_HANDLE *Buffer);
typedef EFI_STATUS(EFIAPI *EFI_MM_LOCATE_PROTOCOL)(const EFI_GUID *Protocol, void *Registration, void **Interface);
typedef EFI_STATUS(EFIAPI *EFI_MM_INTERRUPT_MANAGE)(const EFI_GUID *HandlerType, const void *Context,
                                                    void *CommBuffer, UINTN *CommBufferSize);
typedef EFI_STATUS(EFIAPI *EFI_MM_INTERRUPT_REGISTER)(EFI_MM_HANDLER_ENTRY_POINT Handler, const EFI_GUID *HandlerType,
                                                      EFI_HANDLE *DispatchHandle);
typedef EFI_STATUS(EFIAPI *EFI_MM_INTERRUPT_UNREGISTER)(EFI_HANDLE DispatchHandle);

struct EFI_MM_SYSTEM_TABLE {
  EFI_TABLE_HEADER                    Hdr;
  CHAR16                             *MmFirmwareVendor;
  UINT32                              MmFirmwareRevision;
  EFI_MM_INSTALL_CONFIGURATION_TABLE  MmInstallConfigurationTable;
  EFI_MM_CPU_IO_PROTOCOL              MmIo;
  EFI_MM_ALLOCATE_POOL                MmAllocatePool;
  EFI_MM_FREE_POOL                    MmFreePool;
  EFI_MM_ALLOCATE_PAGES               MmAllocatePages;
  EFI_MM_FREE_PAGES                   MmFreePages;
  EFI_MM_STARTUP_THIS_AP              MmStartupThisAp;
  UINTN                               CurrentlyExecutingCpu;
  UINTN                               NumberOfCpus;
  UINTN                              *CpuSaveStateSize; /* always NULL in ring 3 */
  void                              **CpuSaveState;     /* always NULL in ring 3 */
  UINTN                               NumberOfTableEntries;
  EFI_CONFIGURATION_TABLE            *MmConfigurationTable;
  EFI_MM_INSTALL_PROTOCOL_INTERFACE   MmInstallProtocolInterface;
  EFI_MM_UNINSTALL_PROTOCOL_INTERFACE MmUninstallProtocolInterface;
  EFI_MM_HANDLE_PROTOCOL              MmHandleProtocol;
  EFI_MM_REGISTER_PROTOCOL_NOTIFY     MmRegisterProtocolNotify;
  EFI_MM_LOCATE_HANDLE                MmLocateHandle;
  EFI_MM_LOCATE_PROTOCOL              MmLocateProtocol;
  EFI_MM_INTERRUPT_MANAGE             MmiManage; /* always NULL in ring 3 */
  EFI_MM_INTERRUPT_REGISTER           MmiHandlerRegister;
  EFI_MM_INTERRUPT_UNREGISTER         MmiHandlerUnRegister;
};

#define MM_ASSERT_MMST_OFFSET(field, offset) MM_STATIC_ASSERT(offsetof(EFI_MM_SYSTEM_TABLE, field) == (offset))

MM_ASSERT_MMST_OFFSET(Hdr, 0x00);
MM_ASSERT_MMST_OFFSET(MmFirmwareVendor, 0x18);
MM_ASSERT_MMST_OFFSET(MmFirmwareRevision, 0x20);
MM_ASSERT_MMST_OFFSET(MmInstallConfigurationTable, 0x28);
MM_ASSERT_MMST_OFFSET(MmIo.Mem.Read, 0x30);
MM_ASSERT_MMST_OFFSET(MmIo.Mem.Write, 0x38);
MM_ASSERT_MMST_OFFSET(MmIo.Io.Read, 0x40);
MM_ASSERT_MMST_OFFSET(MmIo.Io.Write, 0x48);
MM_ASSERT_MMST_OFFSET(MmAllocatePool, 0x50);
MM_ASSERT_MMST_OFFSET(MmFreePool, 0x58);
MM_ASSERT_MMST_OFFSET(MmAllocatePages, 0x60);
MM_ASSERT_MMST_OFFSET(MmFreePages, 0x68);
MM_ASSERT_MMST_OFFSET(MmStartupThisAp, 0x70);
MM_ASSERT_MMST_OFFSET(CurrentlyExecutingCpu, 0x78);
MM_ASSERT_MMST_OFFSET(NumberOfCpus, 0x80);
MM_ASSERT_MMST_OFFSET(CpuSaveStateSize, 0x88);
MM_ASSERT_MMST_OFFSET(CpuSaveState, 0x90);
MM_ASSERT_MMST_OFFSET(NumberOfTableEntries, 0x98);
MM_ASSERT_MMST_OFFSET(MmConfigurationTable, 0xA0);
MM_ASSERT_MMST_OFFSET(MmInstallProtocolInterface, 0xA8);
MM_ASSERT_MMST_OFFSET(MmUninstallProtocolInterface, 0xB0);
MM_ASSERT_MMST_OFFSET(MmHandleProtocol, 0xB8);
MM_ASSERT_MMST_OFFSET(MmRegisterProtocolNotify, 0xC0);
MM_ASSERT_MMST_OFFSET(MmLocateHandle, 0xC8);
MM_ASSERT_MMST_OFFSET(MmLocateProtocol, 0xD0);
MM_ASSERT_MMST_OFFSET(MmiManage, 0xD8);
MM_ASSERT_MMST_OFFSET(MmiHandlerRegister, 0xE0);
MM_ASSERT_MMST_OFFSET(MmiHandlerUnRegister, 0xE8);
MM_STATIC_ASSERT(sizeof(EFI_MM_SYSTEM_TABLE) == 0xF0);

#endif
