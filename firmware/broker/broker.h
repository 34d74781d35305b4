/* What the broker's parts offer each other. The services are those of the MM system table: table.c. */
#ifndef BROKER_H
#define BROKER_H

#include <mm/cpu.h>
#include <mm/handler_profile.h>
#include <mm/table.h>

/* pool.c */
void PoolStart(void);
EFI_STATUS EFIAPI BrokerAllocatePool(EFI_MEMORY_TYPE PoolType, UINTN Size, void **Buffer);
EFI_STATUS EFIAPI BrokerFreePool(void *Buffer);
/* Cleared runtime services data for the broker's own records, or NULL. */
void *PoolAllocateZero(UINTN Size);

/* pages.c */
EFI_STATUS EFIAPI BrokerAllocatePages(EFI_ALLOCATE_TYPE Type, EFI_MEMORY_TYPE MemoryType, UINTN NumberOfPages,
                                      EFI_PHYSICAL_ADDRESS *Memory);
EFI_STATUS EFIAPI BrokerFreePages(EFI_PHYSICAL_ADDRESS Memory, UINTN NumberOfPages);

/* handles.c */
EFI_STATUS EFIAPI BrokerInstallProtocol(EFI_HANDLE *Handle, const EFI_GUID *Protocol, EFI_INTERFACE_TYPE InterfaceType,
                                        void *Interface);
EFI_STATUS EFIAPI BrokerUninstallProtocol(EFI_HANDLE Handle, const EFI_GUID *Protocol, void *Interface);
EFI_STATUS EFIAPI BrokerHandleProtocol(EFI_HANDLE Handle, const EFI_GUID *Protocol, void **Interface);
/* Installs a protocol on a new handle: how the broker announces things. */
EFI_STATUS BrokerAnnounce(const EFI_GUID *Protocol, void *Interface);

/* notify.c */
EFI_STATUS EFIAPI BrokerRegisterProtocolNotify(const EFI_GUID *Protocol, EFI_MM_NOTIFY_FN Function,
                                               void **Registration);

/* locate.c */
EFI_STATUS EFIAPI BrokerLocateHandle(EFI_LOCATE_SEARCH_TYPE SearchType, const EFI_GUID *Protocol, void *SearchKey,
                                     UINTN *BufferSize, EFI_HANDLE *Buffer);
EFI_STATUS EFIAPI BrokerLocateProtocol(const EFI_GUID *Protocol, void *Registration, void **Interface);

/* table.c */
extern EFI_MM_SYSTEM_TABLE gBrokerMmst;

/* cpu.c */
extern const EFI_MM_CPU_PROTOCOL gBrokerCpuProtocol;

/* profile.c */
extern const SMI_HANDLER_PROFILE_PROTOCOL gBrokerHandlerProfile;

/* lifecycle.c: registers the five handlers; the status is that of the last registration. */
EFI_STATUS LifecycleStart(void);

/* jump.S: never called from here, only handed to the supervisor. */
void CentralRing3JumpPointer(void);
void ApRing3JumpPointer(void);

#endif
