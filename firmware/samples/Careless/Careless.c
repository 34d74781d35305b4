/*
 * Careless: mistakes that handlers make with what they are sent, one for each case, and the sound way to the same
 * end. None breaks a rule of ring 3 by itself: the supervisor lets them pass, and whoever audits handlers must see.
 */
#include <mm/runtime.h>

#include "../sample.h"

enum {
  CarelessDoubleFetch = 1,
  CarelessNestedPointer,
  CarelessNestedLength,
  CarelessWrongValidator,
  CarelessWrongValidatorOfMessage,
  CarelessCallout,
  CarelessPointerOutside,
  CarelessStackLeft,
  CarelessPoolLeft,
  CarelessAddressLeft
};

typedef struct {
  UINT64 Status;
  UINT32 Case;
  UINT32 Benign;   /* 0: the mistake; else the sound way */
  UINT64 Address;  /* outside MMRAM: where the case's data lie */
  UINT64 Length;   /* of them, in bytes */
  UINT64 Value[8]; /* out */
} CARELESS_MESSAGE;

MM_STATIC_ASSERT(sizeof(CARELESS_MESSAGE) == 96);

#define MOST 64

/* What lies outside for the double fetch: a length, and that many bytes. */
typedef struct {
  volatile UINT64 Length;
  volatile UINT8  Data[MOST];
} OUTSIDE_RECORD;

typedef UINT64(EFIAPI *ROUTINE)(void);

static ROUTINE mRoutine;

static UINT64 EFIAPI Answer(void) { return 42; }

static UINT64 Sum(const volatile UINT8 *Data, UINT64 Length) {
  UINT64 Total = 0;

  for (UINT64 Index = 0; Index < Length; Index++) {
    Total += Data[Index];
  }
  return Total;
}

static BOOLEAN IsOutside(const CARELESS_MESSAGE *Message, UINT64 Length) {
  return MmIsBufferOutsideMmValid(Message->Address, Length);
}

/* The length is judged, and then read again where it is used: in between it may have become another. */
static EFI_STATUS DoubleFetch(CARELESS_MESSAGE *Message) {
  const OUTSIDE_RECORD *Record = (const OUTSIDE_RECORD *)Message->Address;
  UINT64                Length;

  if (!IsOutside(Message, sizeof *Record)) {
    return EFI_ACCESS_DENIED;
  }
  Length = Record->Length;
  if (Length > MOST) {
    return EFI_BAD_BUFFER_SIZE;
  }
  Message->Value[0] = Sum(Record->Data, Message->Benign ? Length : Record->Length);
  return EFI_SUCCESS;
}

/* An address out of the message is used without a question, or with one about its first bytes only. */
static EFI_STATUS NestedPointer(CARELESS_MESSAGE *Message) {
  UINT64 Asked = Message->Case == CarelessNestedLength && !Message->Benign ? 8 : Message->Length;

  if ((Message->Benign || Message->Case == CarelessNestedLength) && !IsOutside(Message, Asked)) {
    return EFI_ACCESS_DENIED;
  }
  Message->Value[0] = Sum((const volatile UINT8 *)Message->Address, Message->Length);
  return EFI_SUCCESS;
}

/* The validator of messages says no to memory outside MMRAM, and the other one to a message. */
static EFI_STATUS WrongValidator(CARELESS_MESSAGE *Message) {
  UINT64 Address = Message->Case == CarelessWrongValidator ? Message->Address : (UINTN)Message;
  UINT64 Length = Message->Case == CarelessWrongValidator ? Message->Length : sizeof *Message;

  if ((Message->Case == CarelessWrongValidator) != (Message->Benign != 0)) {
    Message->Value[0] = MmCommBufferValid(Address, Length);
  } else {
    Message->Value[0] = MmIsBufferOutsideMmValid(Address, Length);
  }
  return Message->Value[0] ? EFI_SUCCESS : EFI_ACCESS_DENIED;
}

/* A function outside MMRAM is called; or one whose address lies outside, where anybody may change it. */
static EFI_STATUS Callout(CARELESS_MESSAGE *Message) {
  ROUTINE Routine = Answer;

  mRoutine = Answer;
  if (!Message->Benign && Message->Case == CarelessCallout) {
    Routine = (ROUTINE)Message->Address;
  }
  if (Message->Case == CarelessPointerOutside) {
    if (!IsOutside(Message, sizeof Routine)) {
      return EFI_ACCESS_DENIED;
    }
    Routine = Message->Benign ? mRoutine : *(ROUTINE const volatile *)Message->Address;
  }
  Message->Value[0] = Routine();
  return EFI_SUCCESS;
}

/* An answer of which only a part was written is copied whole: the rest is what lay there before. */
static EFI_STATUS StackLeft(CARELESS_MESSAGE *Message) {
  volatile UINT64 Reply[8];

  for (UINTN Index = 0; Index < (Message->Benign ? ARRAY_COUNT(Reply) : 2); Index++) {
    Reply[Index] = Index + 1;
  }
  for (UINTN Index = 0; Index < ARRAY_COUNT(Reply); Index++) {
    Message->Value[Index] = Reply[Index];
  }
  return EFI_SUCCESS;
}

static EFI_STATUS PoolLeft(CARELESS_MESSAGE *Message) {
  UINT64 *Reply = Message->Benign ? MmAllocateZero(sizeof Message->Value) : MmAllocate(sizeof Message->Value);

  if (Reply == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  Reply[0] = 1;
  memcpy(Message->Value, Reply, sizeof Message->Value);
  MmFree(Reply);
  return EFI_SUCCESS;
}

/* An address of MMRAM tells the outside where things lie. */
static EFI_STATUS AddressLeft(CARELESS_MESSAGE *Message) {
  Message->Value[0] = Message->Benign ? 1 : (UINTN)&mRoutine;
  return EFI_SUCCESS;
}

static EFI_STATUS Serve(CARELESS_MESSAGE *Message) {
  switch (Message->Case) {
  case CarelessDoubleFetch:
    return DoubleFetch(Message);
  case CarelessNestedPointer:
  case CarelessNestedLength:
    return NestedPointer(Message);
  case CarelessWrongValidator:
  case CarelessWrongValidatorOfMessage:
    return WrongValidator(Message);
  case CarelessCallout:
  case CarelessPointerOutside:
    return Callout(Message);
  case CarelessStackLeft:
    return StackLeft(Message);
  case CarelessPoolLeft:
    return PoolLeft(Message);
  case CarelessAddressLeft:
    return AddressLeft(Message);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI CarelessHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                         UINTN *CommBufferSize) {
  CARELESS_MESSAGE *Message = CommBuffer;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }
  Message->Status = Serve(Message);
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(CarelessHandler, &gSampleCarelessHandlerGuid, NULL);
}
