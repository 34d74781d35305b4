/* The commands of the host program. See host.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mm/entry.h>
#include <mm/guids.h>

#include "database.h"
#include "host.h"

#include "../../../firmware/lib/hob.c" /* for its constructor, which a host program's linker does not gather */

/* Up to three numbers and a name, in the order in which a command's format asks for them. */
typedef struct {
  UINTN Number[3];
  char  Name[64];
} ARGUMENTS;

static EFI_MM_SYSTEM_TABLE *const mMmst = &gBrokerMmst;

static void Answer(EFI_STATUS Status, const void *Value) { printf("%lx %s\n", Status, AddressText(Value)); }

static void Start(const ARGUMENTS *arg) {
  (void)arg;
  HobConstructor(NULL, NULL);
  Answer(MmDriverEntryPoint(NULL, NULL), NULL);
}

/* Pool alone, with all lists empty: what the tables of the fact sheet start from. */
static void StartPool(const ARGUMENTS *arg) {
  (void)arg;
  HobConstructor(NULL, NULL);
  PoolStart();
  Answer(EFI_SUCCESS, NULL);
}

static void Guard(const ARGUMENTS *arg) {
  EFI_HOB_GUID_TYPE            *Hob = (EFI_HOB_GUID_TYPE *)gHobs;
  MM_MEMORY_PROTECTION_SETTINGS Settings = {(UINT8)arg->Number[0], 0, (UINT8)arg->Number[1], 0, (UINT32)arg->Number[2], 0};

  Hob->Header = (EFI_HOB_GENERIC_HEADER){EFI_HOB_TYPE_GUID_EXTENSION, 0x28, 0};
  Hob->Name = gMmMemoryProtectionSettingsGuid;
  memcpy(Hob + 1, &Settings, sizeof Settings);
  *(EFI_HOB_GENERIC_HEADER *)(gHobs + 0x28) = (EFI_HOB_GENERIC_HEADER){EFI_HOB_TYPE_END_OF_HOB_LIST, 8, 0};
  Answer(EFI_SUCCESS, NULL);
}

static void Pool(const ARGUMENTS *arg) {
  EFI_STATUS Status = mMmst->MmAllocatePool(arg->Number[0], arg->Number[1], &gSlots[arg->Number[2]]);

  Answer(Status, EFI_ERROR(Status) ? NULL : gSlots[arg->Number[2]]);
}

static void Free(const ARGUMENTS *arg) { Answer(mMmst->MmFreePool(gSlots[arg->Number[0]]), NULL); }

static void Pages(const ARGUMENTS *arg) {
  EFI_PHYSICAL_ADDRESS Memory = 0x1000;
  EFI_STATUS           Status = mMmst->MmAllocatePages(arg->Number[0], arg->Number[1], arg->Number[2], &Memory);

  Answer(Status, (void *)Memory);
}

static void PagesNull(const ARGUMENTS *arg) {
  (void)arg;
  Answer(mMmst->MmAllocatePages(AllocateAnyPages, EfiRuntimeServicesData, 1, NULL), NULL);
}

static void Install(const ARGUMENTS *arg) {
  EFI_STATUS Status = mMmst->MmInstallProtocolInterface(&gSlots[arg->Number[0]], GuidOf(arg->Name), arg->Number[2], (void *)arg->Number[1]);

  Answer(Status, gSlots[arg->Number[0]]);
}

static void Uninstall(const ARGUMENTS *arg) {
  Answer(mMmst->MmUninstallProtocolInterface(gSlots[arg->Number[0]], GuidOf(arg->Name), (void *)arg->Number[1]), NULL);
}

static void Handle(const ARGUMENTS *arg) {
  void      *Interface = (void *)0x99;
  EFI_STATUS Status = mMmst->MmHandleProtocol(gSlots[arg->Number[0]], GuidOf(arg->Name), &Interface);

  Answer(Status, Interface);
}

static void Hook(const ARGUMENTS *arg) {
  EFI_STATUS Status =
    mMmst->MmRegisterProtocolNotify(GuidOf(arg->Name), gCallbacks[arg->Number[0]], &gRegistrations[arg->Number[0]]);

  Answer(Status, gRegistrations[arg->Number[0]]);
}

static void Unhook(const ARGUMENTS *arg) {
  Answer(mMmst->MmRegisterProtocolNotify(GuidOf(arg->Name), NULL, &gRegistrations[arg->Number[0]]), NULL);
}

static void Misbehave(const ARGUMENTS *arg) {
  gMisbehaviour = (MISBEHAVIOUR)arg->Number[0];
  Answer(EFI_SUCCESS, NULL);
}

static void First(const ARGUMENTS *arg) {
  void      *Interface = (void *)0x99;
  EFI_STATUS Status = mMmst->MmLocateProtocol(GuidOf(arg->Name), NULL, &Interface);

  Answer(Status, Interface);
}

static void NextNew(const ARGUMENTS *arg) {
  void      *Interface = (void *)0x99;
  EFI_STATUS Status = mMmst->MmLocateProtocol(GuidOf(arg->Name), gRegistrations[arg->Number[0]], &Interface);

  Answer(Status, Interface);
}

/* Type, GUID, search key's number (3f: NULL), buffer size. */
static void Locate(const ARGUMENTS *arg) {
  EFI_HANDLE Found[8] = {NULL};
  UINTN      Size = arg->Number[2];
  void      *Key = arg->Number[1] < ARRAY_COUNT(gRegistrations) ? gRegistrations[arg->Number[1]] : NULL;
  EFI_STATUS Status = mMmst->MmLocateHandle(arg->Number[0], GuidOf(arg->Name), Key, &Size, Size == 0 ? NULL : Found);

  printf("%lx size=%lx", Status, Size);
  for (UINTN i = 0; i < ARRAY_COUNT(Found) && Found[i] != NULL; i++) {
    printf(" %s", AddressText(Found[i]));
  }
  printf("\n");
}

static void LocateNowhere(const ARGUMENTS *arg) {
  UINTN Size = 8;

  (void)arg;
  Answer(mMmst->MmLocateHandle(AllHandles, NULL, NULL, &Size, NULL), NULL);
  Answer(mMmst->MmLocateHandle(AllHandles, NULL, NULL, NULL, NULL), NULL);
}

static void Send(const ARGUMENTS *arg) { Message(GuidOf(arg->Name)); }

/* Stores one byte at a slot's pointer, Number[1] bytes before it. */
static void SetBefore(const ARGUMENTS *arg) {
  ((UINT8 *)gSlots[arg->Number[0]])[-(INT64)arg->Number[1]] = (UINT8)arg->Number[2];
  Answer(EFI_SUCCESS, NULL);
}

static void Fill(const ARGUMENTS *arg) {
  memset(gSlots[arg->Number[0]], (int)arg->Number[1], arg->Number[2]);
  Answer(EFI_SUCCESS, NULL);
}

/* Hexadecimal: Number[2] bytes from Number[1] bytes before a slot's pointer. */
static void Dump(const ARGUMENTS *arg) {
  for (UINTN i = 0; i < arg->Number[2]; i++) {
    printf("%02x", ((UINT8 *)gSlots[arg->Number[0]] - arg->Number[1])[i]);
  }
  printf("\n");
}

static void Table(const ARGUMENTS *arg) {
  (void)arg;
  for (UINTN i = 0; i < sizeof *mMmst; i++) {
    printf("%02x", ((UINT8 *)mMmst)[i]);
  }
  printf("\n");
}

static void SaveState(const ARGUMENTS *arg) {
  Answer(gBrokerCpuProtocol.ReadSaveState(&gBrokerCpuProtocol, arg->Number[0], arg->Number[1], arg->Number[2], gSlots[0]), NULL);
}

static void Ap(const ARGUMENTS *arg) {
  EFI_AP_PROCEDURE Procedure = (EFI_AP_PROCEDURE)arg->Number[0];

  Answer(mMmst->MmStartupThisAp(Procedure, arg->Number[1], (void *)arg->Number[2]), NULL);
}

static void ConfigurationTable(const ARGUMENTS *arg) {
  Answer(mMmst->MmInstallConfigurationTable(mMmst, (void *)arg->Number[0], (void *)arg->Number[1], arg->Number[2]), NULL);
}

static void RegisterNull(const ARGUMENTS *arg) {
  (void)arg;
  Answer(mMmst->MmiHandlerRegister(NULL, NULL, NULL), NULL);
}

static void CpuIo(const ARGUMENTS *arg) {
  (void)arg;
  Answer(mMmst->MmIo.Mem.Read(&mMmst->MmIo, MM_IO_UINT8, 0, 1, NULL), NULL);
}

/* N: a number, G: the name of a GUID. */
static const struct {
  const char *Verb;
  const char *Format;
  void (*Do)(const ARGUMENTS *);
} mCommands[] = {
  {"start", "", Start},
  {"start-pool", "", StartPool},
  {"guard", "NNN", Guard},
  {"pool", "NNN", Pool},
  {"free", "N", Free},
  {"pages", "NNN", Pages},
  {"pages-null", "", PagesNull},
  {"install", "NGNN", Install},
  {"uninstall", "NGN", Uninstall},
  {"handle", "NG", Handle},
  {"hook", "NG", Hook},
  {"unhook", "NG", Unhook},
  {"misbehave", "N", Misbehave},
  {"first", "G", First},
  {"next-new", "NG", NextNew},
  {"locate", "NGNN", Locate},
  {"locate-nowhere", "", LocateNowhere},
  {"send", "G", Send},
  {"set-before", "NNN", SetBefore},
  {"fill", "NNN", Fill},
  {"dump", "NNN", Dump},
  {"table", "", Table},
  {"save-state", "NNN", SaveState},
  {"ap", "NNN", Ap},
  {"configuration-table", "NNN", ConfigurationTable},
  {"register-null", "", RegisterNull},
  {"cpu-io", "", CpuIo},
};

static void Parse(const char *Format, char *Words, ARGUMENTS *arg) {
  UINTN *Number = arg->Number;

  for (; *Format != '\0'; Format++) {
    char *Word = strtok_r(NULL, " \n", &Words);

    if (Word == NULL) {
      exit(2);
    }
    if (*Format == 'G') {
      snprintf(arg->Name, sizeof arg->Name, "%s", Word);
    } else {
      *Number++ = strtoull(Word, NULL, 16);
    }
  }
}

int main(void) {
  char Line[256];

  Guard(&(ARGUMENTS){{0}, ""});
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(Line, sizeof Line, stdin) != NULL) {
    char *Rest = NULL;
    char *Verb = strtok_r(Line, " \n", &Rest);
    UINTN Index = 0;

    while (Index < ARRAY_COUNT(mCommands) && strcmp(mCommands[Index].Verb, Verb) != 0) {
      Index++;
    }
    if (Index == ARRAY_COUNT(mCommands)) {
      fprintf(stderr, "no command %s\n", Verb);
      return 2;
    }
    ARGUMENTS Given = {{0}, ""};
    Parse(mCommands[Index].Format, Rest, &Given);
    mCommands[Index].Do(&Given);
  }
  return 0;
}
