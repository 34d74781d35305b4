/*
 * What the sample drivers share. A message's detail travels in its payload, since a handler's status reaches the
 * sender only as success or "not found" (docs/reference/communicate.md section 3.3): every payload starts with a
 * Status that the handler writes.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <mm/entry.h>
#include <mm/services.h>
#include <mm/syscall.h>

#include "sample_guids.h"

/* Status before a handler has run: no handler answers with it. */
#define SAMPLE_STATUS_UNTOUCHED 0xFFFFFFFFFFFFFFFFULL

/* The message of drivers that run one step of a service per message and report what it gave. */
typedef struct {
  UINT64 Status; /* out: what the service under test answered */
  UINT32 Case;   /* in: the step */
  UINT32 Reserved;
  UINT64 Value[6]; /* in: parameters, if the step has any; out: what there is to know beside the status */
} SAMPLE_STEP_MESSAGE;

MM_STATIC_ASSERT(sizeof(SAMPLE_STEP_MESSAGE) == 64);

/* Whether a handler was given a message of at least Wanted bytes, all of it inside the supervisor's copy. */
static inline BOOLEAN SampleMessageValid(const void *CommBuffer, const UINTN *CommBufferSize, UINTN Wanted) {
  return (BOOLEAN)(CommBuffer != NULL && CommBufferSize != NULL && *CommBufferSize >= Wanted &&
                   MmCommBufferValid((UINTN)CommBuffer, *CommBufferSize));
}

/* Registers a handler for one message GUID; the handle goes to Handle when that is wanted. */
static inline EFI_STATUS SampleRegister(EFI_MM_HANDLER_ENTRY_POINT Handler, const EFI_GUID *Guid, EFI_HANDLE *Handle) {
  EFI_HANDLE Unused = NULL;

  return gMmst->MmiHandlerRegister(Handler, Guid, Handle == NULL ? &Unused : Handle);
}

#endif
