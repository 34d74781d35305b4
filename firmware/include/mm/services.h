/*
 * gMmst and short forms of its pool services: lib/services.c. Linking it is what makes a driver depend on the
 * broker: its driver.toml must leave `after_broker` on, which ANDs gMmRing3HandlerReadyProtocol to the DEPEX.
 */
#ifndef MM_SERVICES_H
#define MM_SERVICES_H

#include <mm/table.h>

/* The table that the entry point received; set by a constructor before MmDriverEntryPoint runs. */
extern EFI_MM_SYSTEM_TABLE *gMmst;

/* Runtime services data from pool, or NULL. Only 8-byte aligned (8 modulo 16), contents undefined. */
void *MmAllocate(UINTN Size);
void *MmAllocateZero(UINTN Size);
void MmFree(void *Buffer);

/* Installs one interface on a new handle. */
EFI_STATUS MmInstall(const EFI_GUID *Protocol, void *Interface);

/* The first installed interface of a protocol, or NULL (which may also be an installed NULL). */
void *MmLocate(const EFI_GUID *Protocol);

#endif
