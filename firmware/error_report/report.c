/*
 * MmSupervisorErrorReport: is called when something went wrong, just before the reset. docs/reference/telemetry.md
 * sections 2 to 4. On the device the record goes to storage that survives the reset (CMOS, by I/O system calls under
 * the policy); here it stays in the driver's own data, where whoever reads memory afterwards finds it by symbol.
 */
#include <mm/entry.h>
#include <mm/syscall.h>
#include <mm/telemetry.h>

/* One record of early hardware error storage, packed as it would be stored. */
#pragma pack(push, 1)
typedef struct {
  UINT8    Rev;
  UINT8    Phase;
  UINT16   Reserved;
  UINT32   ErrorStatusValue;
  UINT64   AdditionalInfo1;
  UINT64   AdditionalInfo2;
  EFI_GUID ModuleID;
  EFI_GUID PartitionID;
} EARLY_STORAGE_ENTRY;
#pragma pack(pop)

MM_STATIC_ASSERT(sizeof(EARLY_STORAGE_ENTRY) == 56);

/* Class software, subclass MM policy. */
#define ERROR_STATUS_BASE 0x03CE0000U

/* FILE_GUID of this driver: who reports. */
static const EFI_GUID mReporter = {0x930A5E37, 0x9771, 0x4261, {0x9C, 0x54, 0x86, 0xF8, 0x21, 0xE2, 0x5B, 0x72}};

/* The processor and its record; Count also counts what did not fit. At most two reports are made per processor. */
volatile UINT64              gErrorReportCount;
volatile UINT64              gErrorReportCpu[8];
volatile EARLY_STORAGE_ENTRY gErrorReportEntry[8];

void ErrorReportJumpPointer(void); /* jump.S */

EFI_STATUS EFIAPI ErrorReport(UINTN CpuIndex, const MM_SUPV_TELEMETRY_DATA *Report) {
  UINT64 Slot;

  if (Report == NULL || Report->Signature != MM_SUPV_TELEMETRY_SIGNATURE) {
    return EFI_INVALID_PARAMETER;
  }
  Slot = gErrorReportCount++;
  if (Slot >= ARRAY_COUNT(gErrorReportEntry)) {
    return EFI_OUT_OF_RESOURCES;
  }
  gErrorReportCpu[Slot] = CpuIndex;
  gErrorReportEntry[Slot] = (EARLY_STORAGE_ENTRY){
    .ErrorStatusValue = ERROR_STATUS_BASE | (UINT32)Report->ExceptionType,
    .AdditionalInfo1 = Report->ExceptionRIP,
    .AdditionalInfo2 = Report->DriverLoadAddress,
    .ModuleID = mReporter,
    .PartitionID = Report->DriverId,
  };
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  SysCall(SMM_ERR_RPT_JMP, (UINTN)ErrorReportJumpPointer, 0, 0);
  return EFI_SUCCESS;
}
