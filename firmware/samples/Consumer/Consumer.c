/*
 * Consumer: its DEPEX waits for the Producer's protocol, so wherever its file lies it starts later and finds the
 * protocol. It is notified of the Producer's second protocol, which comes by message.
 */
#include "../Producer/producer.h"
#include "../sample.h"

typedef enum { ConsumerAdd = 1, ConsumerNotified } CONSUMER_CASE;

static SAMPLE_PRODUCER_PROTOCOL *mProducer;
static UINT64                    mNotified;

static EFI_STATUS EFIAPI LateNotify(const EFI_GUID *Protocol, void *Interface, EFI_HANDLE Handle) {
  (void)Protocol;
  (void)Interface;
  (void)Handle;
  mNotified++;
  return EFI_SUCCESS;
}

static EFI_STATUS Act(SAMPLE_STEP_MESSAGE *Message) {
  switch (Message->Case) {
  case ConsumerAdd: /* values 0 and 1 in, 2 out */
    return mProducer->Add(Message->Value[0], Message->Value[1], &Message->Value[2]);
  case ConsumerNotified: /* value 0 out */
    Message->Value[0] = mNotified;
    return EFI_SUCCESS;
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS EFIAPI ConsumerHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
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
  void      *Registration = NULL;
  EFI_STATUS Status;

  (void)ImageHandle;
  (void)MmSystemTable;
  mProducer = MmLocate(&gSampleProducerProtocolGuid);
  if (mProducer == NULL) {
    return EFI_NOT_FOUND; /* the DEPEX should have kept us waiting */
  }
  Status = gMmst->MmRegisterProtocolNotify(&gSampleLateProtocolGuid, LateNotify, &Registration);
  return EFI_ERROR(Status) ? Status : SampleRegister(ConsumerHandler, &gSampleConsumerHandlerGuid, NULL);
}
