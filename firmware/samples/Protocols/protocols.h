/* What the parts of the Protocols driver share. Each step leaves the database as it found it. */
#ifndef PROTOCOLS_H
#define PROTOCOLS_H

#include "../sample.h"

typedef enum {
  InstallNew = 0x01,
  InstallNullInterface,
  InstallHandleNull,
  InstallGuidNull,
  InstallTypeOther,
  InstallTwice,
  InstallBadHandle,
  UninstallLast = 0x11,
  UninstallGuidNull,
  UninstallBadHandle,
  UninstallOther,
  UninstallTwice,
  HandleFound = 0x21,
  HandleAbsent,
  HandleGuidNull,
  HandleInterfaceNull,
  HandleBadHandle,
  LocateFirst = 0x31,
  LocateAbsent,
  LocateGuidNull,
  LocateInterfaceNull,
  LocateByRegistration,
  LocateIgnoresGuid,
  ListAll = 0x41,
  ListByProtocol,
  ListUnknown,
  ListGuidNull,
  ListKeyNull,
  ListTypeOther,
  ListSizeNull,
  ListBufferNull,
  ListTooSmall,
  ListByNotify,
  NotifyCalled = 0x51,
  NotifySame,
  NotifyGuidNull,
  NotifyRegistrationNull,
  NotifyUnhooked,
  NotifyUnknown,
  NotifyExisting,
  NotifyOrder
} PROTOCOLS_CASE;

/* Interfaces to install: their addresses are all that matters. */
extern UINT64 mFirstInterface;
extern UINT64 mSecondInterface;

/* Installs on *Handle, a new handle when NULL. */
EFI_STATUS Install(EFI_HANDLE *Handle, const EFI_GUID *Guid, void *Interface);
EFI_STATUS Uninstall(EFI_HANDLE Handle, const EFI_GUID *Guid, void *Interface);

/* Memory that looks like no handle. */
EFI_HANDLE BadHandle(void);

EFI_STATUS RunDatabase(SAMPLE_STEP_MESSAGE *Message); /* 0x01 to 0x3F */
EFI_STATUS RunList(SAMPLE_STEP_MESSAGE *Message);     /* 0x41 to 0x4F */
EFI_STATUS RunNotify(SAMPLE_STEP_MESSAGE *Message);   /* 0x51 to 0x5F, and lookups by registration */

#endif
