/* A supervisor that writes down what it is asked and hands out pages. See host.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mm/guids.h>
#include <mm/runtime.h>
#include <mm/syscall.h>

#include "host.h"

#define PAGES 256
static UINT8 mArena[PAGES * EFI_PAGE_SIZE] __attribute__((aligned(4096)));
static UINTN mTaken;
UINT8 gHobs[128] __attribute__((aligned(8)));

void CentralRing3JumpPointer(void) {}
void ApRing3JumpPointer(void) {}

BOOLEAN MmGuidEqual(const EFI_GUID *Left, const EFI_GUID *Right) {
  return (BOOLEAN)(memcmp(Left, Right, sizeof *Left) == 0);
}

/* ---- names of addresses ---- */

static const struct {
  const char *Name;
  const void *Address;
} mNames[] = {
  {"NULL", NULL},
  {"central", CentralRing3JumpPointer},
  {"ap", ApRing3JumpPointer},
  {"mmst", &gBrokerMmst},
  {"cpu", &gBrokerCpuProtocol},
  {"profile", &gBrokerHandlerProfile},
};

static const struct {
  const char     *Name;
  const EFI_GUID *Guid;
} mGuids[] = {
  {"gEfiMmCpuProtocolGuid", &gEfiMmCpuProtocolGuid},
  {"gMmRing3HandlerReadyProtocol", &gMmRing3HandlerReadyProtocol},
  {"gEfiDxeMmReadyToLockProtocolGuid", &gEfiDxeMmReadyToLockProtocolGuid},
  {"gEfiMmReadyToLockProtocolGuid", &gEfiMmReadyToLockProtocolGuid},
  {"gEfiMmEndOfPeiProtocol", &gEfiMmEndOfPeiProtocol},
  {"gEfiEndOfDxeEventGroupGuid", &gEfiEndOfDxeEventGroupGuid},
  {"gEfiMmEndOfDxeProtocolGuid", &gEfiMmEndOfDxeProtocolGuid},
  {"gEfiEventExitBootServicesGuid", &gEfiEventExitBootServicesGuid},
  {"gEfiEventReadyToBootGuid", &gEfiEventReadyToBootGuid},
  {"gSmiHandlerProfileGuid", &gSmiHandlerProfileGuid},
  {"gEfiSmmVariableProtocolGuid", &gEfiSmmVariableProtocolGuid},
  {"gSmmVariableWriteGuid", &gSmmVariableWriteGuid},
};

const char *AddressText(const void *Value) {
  static char Texts[4][32];
  static int  Turn;
  char       *Text = Texts[Turn++ & 3];
  const UINT8 *Byte = Value;

  for (size_t i = 0; i < ARRAY_COUNT(mNames); i++) {
    if (mNames[i].Address == Value) {
      return mNames[i].Name;
    }
  }
  if (Byte >= mArena && Byte < mArena + sizeof mArena) {
    UINTN Offset = (UINTN)(Byte - mArena);
    UINTN Page = PAGES - 1 - Offset / 0x1000;
    snprintf(Text, sizeof Texts[0], "%lx:%lx", Page, Offset % 0x1000);
  } else {
    snprintf(Text, sizeof Texts[0], "%lx", (UINTN)Value);
  }
  return Text;
}

const char *GuidName(const EFI_GUID *Guid) {
  for (size_t i = 0; i < ARRAY_COUNT(mGuids); i++) {
    if (MmGuidEqual(mGuids[i].Guid, Guid)) {
      return mGuids[i].Name;
    }
  }
  return "unknown";
}

const EFI_GUID *GuidOf(const char *Name) {
  for (size_t i = 0; i < ARRAY_COUNT(mGuids); i++) {
    if (strcmp(mGuids[i].Name, Name) == 0) {
      return mGuids[i].Guid;
    }
  }
  if (strcmp(Name, "NULL") == 0) {
    return NULL;
  }
  fprintf(stderr, "no GUID %s\n", Name);
  exit(2);
}

/* ---- the supervisor ---- */

static UINTN mHandlers;
static struct {
  EFI_GUID                   Guid;
  EFI_MM_HANDLER_ENTRY_POINT Handler;
} mHandler[16];

void Message(const EFI_GUID *Guid) {
  for (UINTN i = 0; i < mHandlers; i++) {
    if (MmGuidEqual(&mHandler[i].Guid, Guid)) {
      printf("%lx -\n", mHandler[i].Handler((EFI_HANDLE)(0x700 + i), NULL, NULL, NULL));
    }
  }
}

UINT64 EFIAPI SysCall(UINTN Index, UINTN A1, UINTN A2, UINTN A3) {
  switch (Index) {
  case SMM_QRY_HOB:
    printf("sys %lx\n", Index);
    return (UINTN)gHobs;
  case SMM_INST_PROT:
    printf("sys %lx %s\n", Index, GuidName((const EFI_GUID *)A1));
    return 0;
  case SMM_REG_HNDL:
    printf("sys %lx %s\n", Index, GuidName((const EFI_GUID *)A2));
    mHandler[mHandlers].Guid = *(const EFI_GUID *)A2;
    mHandler[mHandlers].Handler = (EFI_MM_HANDLER_ENTRY_POINT)A1;
    return 0x700 + mHandlers++;
  case SMM_ALOC_PAGE:
    printf("sys %lx %lx %lx %lx\n", Index, A1, A2, A3);
    if (A2 != EfiRuntimeServicesData || A3 > PAGES - mTaken) { /* fatal: never returns */
      printf("fatal\n");
      exit(0);
    }
    mTaken += A3;
    return (UINTN)memset(mArena + (PAGES - mTaken) * EFI_PAGE_SIZE, 0xAA, A3 * EFI_PAGE_SIZE);
  default:
    printf("sys %lx %s %s %s\n", Index, AddressText((void *)A1), AddressText((void *)A2), AddressText((void *)A3));
    return 0;
  }
}
