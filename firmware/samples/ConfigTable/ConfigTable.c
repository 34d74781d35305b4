/*
 * ConfigTable: installs configuration tables. They go to the supervisor's own list; what ring 3 sees of the list
 * stays empty, and deleting one is fatal (docs/reference/gmmst.md section 7).
 */
#include "../sample.h"

typedef enum { ConfigInstall = 1, ConfigReplace, ConfigDelete, ConfigGuidNull } CONFIG_TABLE_CASE;

static UINT64 mTables[2];

static EFI_STATUS Install(const EFI_GUID *Guid, void *Table, UINTN Size) {
  return gMmst->MmInstallConfigurationTable(gMmst, Guid, Table, Size);
}

static EFI_STATUS Act(SAMPLE_STEP_MESSAGE *Message) {
  switch (Message->Case) {
  case ConfigInstall:
    return Install(&gSampleConfigTableGuid, &mTables[0], sizeof mTables[0]);
  case ConfigReplace:
    return Install(&gSampleConfigTableGuid, &mTables[1], sizeof mTables[1]);
  case ConfigDelete:
    return Install(&gSampleConfigTableGuid, NULL, 0);
  case ConfigGuidNull:
    return Install(NULL, &mTables[0], sizeof mTables[0]);
  default:
    return EFI_UNSUPPORTED;
  }
}

/* Values 0 and 1: what ring 3 sees of the list afterwards. Value 2: the first table's address. */
static EFI_STATUS EFIAPI ConfigTableHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                            UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Act(Message);
  Message->Value[0] = gMmst->NumberOfTableEntries;
  Message->Value[1] = (UINTN)gMmst->MmConfigurationTable;
  Message->Value[2] = (UINTN)&mTables[0];
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(ConfigTableHandler, &gSampleConfigTableHandlerGuid, NULL);
}
