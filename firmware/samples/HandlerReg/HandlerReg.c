/*
 * HandlerReg: registering and unregistering message handlers. A root handler runs on every MMI of the user channel,
 * without a buffer. Unregistering during a dispatch is deferred: a handler flagged for removal still runs until the
 * dispatch is over (docs/reference/boot-flow.md section 10.2).
 */
#include "../sample.h"

typedef enum {
  RegisterHandleNull = 0x01,
  RegisterRoot,
  RootCount,
  UnregisterRoot,
  RegisterSelf = 0x11,
  SelfCount,
  RegisterPair = 0x21,
  PairCount
} HANDLER_REG_CASE;

static struct {
  EFI_HANDLE Handle;
  UINT64     Calls;
  UINT64     Bare; /* calls without a buffer */
} mRoot;

static struct {
  EFI_HANDLE Handle;
  UINT64     Calls;
  UINT64     SameHandle; /* whether the dispatch handle was the one of the registration */
  EFI_STATUS Unregistered;
} mSelf;

static struct {
  EFI_HANDLE First;
  EFI_HANDLE Second; /* NULL once the first handler has unregistered it */
  UINT64     FirstCalls;
  UINT64     SecondCalls;
} mPair;

static EFI_STATUS EFIAPI RootHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                     UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  mRoot.Calls++;
  mRoot.Bare += CommBuffer == NULL && CommBufferSize == NULL;
  return EFI_SUCCESS;
}

/* Unregisters itself at its first call: the second message finds no handler. */
static EFI_STATUS EFIAPI SelfHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                     UINTN *CommBufferSize) {
  SAMPLE_STEP_MESSAGE *Message = CommBuffer;

  (void)Context;
  mSelf.Calls++;
  mSelf.SameHandle = DispatchHandle == mSelf.Handle;
  mSelf.Unregistered = gMmst->MmiHandlerUnRegister(DispatchHandle);
  if (SampleMessageValid(CommBuffer, CommBufferSize, sizeof *Message)) {
    Message->Status = EFI_SUCCESS;
  }
  return EFI_SUCCESS;
}

/* Unregisters its successor and lets the dispatch go on to it. */
static EFI_STATUS EFIAPI FirstHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                      UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  mPair.FirstCalls++;
  if (mPair.Second != NULL) {
    gMmst->MmiHandlerUnRegister(mPair.Second);
    mPair.Second = NULL;
  }
  return EFI_WARN_INTERRUPT_SOURCE_QUIESCED;
}

static EFI_STATUS EFIAPI SecondHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
                                       UINTN *CommBufferSize) {
  (void)DispatchHandle;
  (void)Context;
  (void)CommBuffer;
  (void)CommBufferSize;
  mPair.SecondCalls++;
  return EFI_SUCCESS;
}

static EFI_STATUS Root(SAMPLE_STEP_MESSAGE *Message) {
  switch (Message->Case) {
  case RegisterHandleNull:
    return gMmst->MmiHandlerRegister(RootHandler, NULL, NULL);
  case RegisterRoot:
    return SampleRegister(RootHandler, NULL, &mRoot.Handle);
  case RootCount:
    Message->Value[0] = mRoot.Calls;
    Message->Value[1] = mRoot.Bare;
    return EFI_SUCCESS;
  case UnregisterRoot:
    return gMmst->MmiHandlerUnRegister(mRoot.Handle);
  default:
    return EFI_UNSUPPORTED;
  }
}

static EFI_STATUS Act(SAMPLE_STEP_MESSAGE *Message) {
  EFI_STATUS Status;

  switch (Message->Case) {
  case RegisterSelf:
    return SampleRegister(SelfHandler, &gSampleHandlerRegSelfGuid, &mSelf.Handle);
  case SelfCount:
    Message->Value[0] = mSelf.Calls;
    Message->Value[1] = mSelf.SameHandle;
    Message->Value[2] = mSelf.Unregistered;
    return EFI_SUCCESS;
  case RegisterPair:
    Status = SampleRegister(FirstHandler, &gSampleHandlerRegPairGuid, &mPair.First);
    return EFI_ERROR(Status) ? Status : SampleRegister(SecondHandler, &gSampleHandlerRegPairGuid, &mPair.Second);
  case PairCount:
    Message->Value[0] = mPair.FirstCalls;
    Message->Value[1] = mPair.SecondCalls;
    return EFI_SUCCESS;
  default:
    return Root(Message);
  }
}

static EFI_STATUS EFIAPI HandlerRegHandler(EFI_HANDLE DispatchHandle, const void *Context, void *CommBuffer,
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
  return SampleRegister(HandlerRegHandler, &gSampleHandlerRegHandlerGuid, NULL);
}
