/* The Offender's message, and what its parts offer one another. */
#ifndef OFFENDER_H
#define OFFENDER_H

#include "../sample.h"

#include "cases.h"

/* Places in Argument that OffendReport fills. */
enum {
  OFFENDER_REPORT_IMAGE_HANDLE,    /* supervisor page */
  OFFENDER_REPORT_DISPATCH_HANDLE, /* supervisor page */
  OFFENDER_REPORT_TABLE,           /* gMmst: the broker's data */
  OFFENDER_REPORT_HOB_LIST,        /* read-only */
  OFFENDER_REPORT_CODE,            /* a RET instruction in .text: read-only */
  OFFENDER_REPORT_CONSTANT,        /* a RET instruction's byte in .rdata: read-only */
  OFFENDER_REPORT_DATA,            /* a RET instruction's byte in .data: not executable */
  OFFENDER_REPORT_CPU              /* the executing CPU's number */
};

typedef struct {
  UINT64 Status;      /* out: EFI_SUCCESS after a case ended, EFI_UNSUPPORTED for an unknown one */
  UINT32 Case;        /* OFFENDER_CASE */
  UINT32 Benign;      /* 0: offend; else run the twin, which must come back */
  UINT64 Result;      /* out: what the instruction or call gave */
  UINT64 Argument[8]; /* in: as the case says */
} OFFENDER_MESSAGE;

MM_STATIC_ASSERT(sizeof(OFFENDER_MESSAGE) == 88);

/* The handle that the handler was called with, and the one of the entry point: both name supervisor memory. */
extern EFI_HANDLE mDispatchHandle;
extern EFI_HANDLE mImageHandle;

/* The address that a memory case is about to touch, for whoever looks at memory after the stop. */
extern volatile UINT64 gOffenderTarget;

/* One group of cases each; EFI_UNSUPPORTED when the case is none of theirs. */
EFI_STATUS OffendByInstruction(OFFENDER_MESSAGE *Message);
EFI_STATUS OffendByMemory(OFFENDER_MESSAGE *Message);
EFI_STATUS OffendByCall(OFFENDER_MESSAGE *Message);

/* flow.S: nothing but RET. */
void EFIAPI ReturnStub(void);

#endif
