/*
 * Echo: the smallest useful driver. Its handler checks that the message lies in the supervisor's copy (system call
 * 0x10023, never 0x10022), transforms the data in place and counts its calls, which shows that a driver's own
 * data live on between messages.
 */
#include "../sample.h"

typedef enum { EchoKeep, EchoComplement, EchoReverse, EchoUpperCase } ECHO_OPERATION;

typedef struct {
  UINT64 Status;
  UINT32 Operation; /* ECHO_OPERATION */
  UINT32 Sum;       /* out: sum of the data bytes as received */
  UINT64 Calls;     /* out: messages served since boot, this one included */
  UINT8  Data[];    /* to the end of the message */
} ECHO_MESSAGE;

MM_STATIC_ASSERT(sizeof(ECHO_MESSAGE) == 24);

static UINT64 mCalls;

static UINT32 Sum(const UINT8 *Data, UINTN Count) {
  UINT32 Total = 0;

  for (UINTN Index = 0; Index < Count; Index++) {
    Total += Data[Index];
  }
  return Total;
}

static UINT8 Transform(UINT32 Operation, UINT8 Byte) {
  if (Operation == EchoComplement) {
    return (UINT8)~Byte;
  }
  return Operation == EchoUpperCase && Byte >= 'a' && Byte <= 'z' ? (UINT8)(Byte - 'a' + 'A') : Byte;
}

static void Reverse(UINT8 *Data, UINTN Count) {
  for (UINTN Low = 0, High = Count; Low + 1 < High; Low++) {
    UINT8 Byte = Data[Low];

    Data[Low] = Data[--High];
    Data[High] = Byte;
  }
}

static EFI_STATUS EFIAPI EchoHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                     UINTN *CommBufferSize) {
  ECHO_MESSAGE *Message = CommBuffer;
  UINTN         Count;

  (void)DispatchHandle;
  (void)Context;
  if (!SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    return EFI_INVALID_PARAMETER;
  }

  Count = *CommBufferSize - sizeof *Message;
  Message->Calls = ++mCalls;
  Message->Sum = Sum(Message->Data, Count);
  Message->Status = Message->Operation > EchoUpperCase ? EFI_UNSUPPORTED : EFI_SUCCESS;
  if (Message->Operation == EchoReverse) {
    Reverse(Message->Data, Count);
  }
  for (UINTN Index = 0; Index < Count; Index++) {
    Message->Data[Index] = Transform(Message->Operation, Message->Data[Index]);
  }
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI MmDriverEntryPoint(EFI_HANDLE ImageHandle, EFI_MM_SYSTEM_TABLE *MmSystemTable) {
  (void)ImageHandle;
  (void)MmSystemTable;
  return SampleRegister(EchoHandler, &gSampleEchoHandlerGuid, NULL);
}
