/*
 * ApUser: work for the application processors. A procedure runs in ring 3 on its CPU's own stack; the start always
 * answers success, or the system dies; with a NULL argument nothing runs, silently (docs/reference/gmmst.md section
 * 8). Whether the start waits for the end is the platform's choice: Collect asks later.
 */
#include "../sample.h"

typedef enum { ApCpus = 1, ApStart, ApStartAll, ApCollect, ApArgumentNull } AP_USER_CASE;

#define MOST_CPUS 64

typedef struct {
  UINT64          Cpu;
  volatile UINT64 Runs;
  volatile UINT64 Square; /* of Cpu */
  volatile UINT64 Stack;  /* an address on the stack that it ran on */
} SLOT;

static SLOT mSlots[MOST_CPUS];

static void EFIAPI Work(void *Argument) {
  SLOT           *Slot = Argument;
  volatile UINT64 Local = Slot->Cpu;

  Slot->Square = Local * Local;
  Slot->Stack = (UINTN)&Local;
  Slot->Runs++;
}

static EFI_STATUS Start(UINTN Cpu) {
  mSlots[Cpu].Cpu = Cpu;
  return gMmst->MmStartupThisAp(Work, Cpu, &mSlots[Cpu]);
}

/* Value 0: how many were started. */
static EFI_STATUS StartAll(SAMPLE_STEP_MESSAGE *Message) {
  Message->Value[0] = 0;
  for (UINTN Cpu = 0; Cpu < gMmst->NumberOfCpus && Cpu < MOST_CPUS; Cpu++) {
    if (Cpu != gMmst->CurrentlyExecutingCpu) {
      EFI_STATUS Status = Start(Cpu);

      if (EFI_ERROR(Status)) {
        return Status;
      }
      Message->Value[0]++;
    }
  }
  return EFI_SUCCESS;
}

/* Value 0 in: the CPU. */
static EFI_STATUS Act(SAMPLE_STEP_MESSAGE *Message) {
  UINTN Cpu = Message->Value[0] < MOST_CPUS ? Message->Value[0] : 0;

  switch (Message->Case) {
  case ApCpus:
    Message->Value[0] = gMmst->NumberOfCpus;
    Message->Value[1] = gMmst->CurrentlyExecutingCpu;
    return EFI_SUCCESS;
  case ApStart:
    return Start(Cpu);
  case ApStartAll:
    return StartAll(Message);
  case ApCollect:
    Message->Value[1] = mSlots[Cpu].Runs;
    Message->Value[2] = mSlots[Cpu].Square;
    Message->Value[3] = mSlots[Cpu].Stack;
    return EFI_SUCCESS;
  case ApArgumentNull:
    return gMmst->MmStartupThisAp(Work, Cpu, NULL);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI ApUserHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                       UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Act(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(ApUserHandler, &gSampleApUserHandlerGuid, NULL);
}
