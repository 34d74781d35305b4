/* The supervisor's error report: docs/reference/telemetry.md section 1. */
#ifndef MM_TELEMETRY_H
#define MM_TELEMETRY_H

#include <mm/base.h>

#define MM_SUPV_TELEMETRY_SIGNATURE SIGNATURE_32('M', 'S', 'V', 'T')

typedef struct {
  UINT32               Signature;
  UINT32               TelemetrySize;
  UINT64               ExceptionType;
  EFI_GUID             DriverId;
  EFI_PHYSICAL_ADDRESS ExceptionRIP;
  EFI_PHYSICAL_ADDRESS DriverLoadAddress;
  UINT8                ExceptionData[0x358]; /* x64 system context, left zero */
} MM_SUPV_TELEMETRY_DATA;

MM_STATIC_ASSERT(offsetof(MM_SUPV_TELEMETRY_DATA, ExceptionRIP) == 32);
MM_STATIC_ASSERT(offsetof(MM_SUPV_TELEMETRY_DATA, ExceptionData) == 48);
MM_STATIC_ASSERT(sizeof(MM_SUPV_TELEMETRY_DATA) == 904);

/* What SMM_ERR_RPT_JMP's routine is called with. */
typedef EFI_STATUS(EFIAPI *MM_ERROR_REPORT)(UINTN CpuIndex, const MM_SUPV_TELEMETRY_DATA *Report);

#endif
