/*
 * How a driver starts: lib/entry.S calls lib/entry.c, which checks the table's revision, runs the constructors of
 * the linked libraries and then the driver. docs/reference/syscall-abi.md section 3.4.
 */
#ifndef MM_ENTRY_H
#define MM_ENTRY_H

#include <mm/table.h>

/* Written by the driver. An error makes the supervisor free the image; what was registered stays registered. */
EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable);

typedef EFI_STATUS(EFIAPI *MM_LIBRARY_HOOK)(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable);

/*
 * Library constructors run in ascending order of their two-digit rank, destructors likewise when the driver
 * fails; the linker script gathers them. A module that nothing refers to is not linked, nor is its constructor.
 */
#define MM_CONSTRUCTOR(rank, function) \
  __attribute__((section(".mm_constructors." #rank), used)) static MM_LIBRARY_HOOK const Constructor_##function = function
#define MM_DESTRUCTOR(rank, function) \
  __attribute__((section(".mm_destructors." #rank), used)) static MM_LIBRARY_HOOK const Destructor_##function = function

#endif
