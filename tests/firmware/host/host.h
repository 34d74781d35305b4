/*
 * The broker as a program of the host: its C sources, linked with a supervisor that only writes down what it was
 * asked. Commands come one a line on standard input; each answers one line on standard output, and each system call
 * made meanwhile puts a line of its own before it that starts with "sys". Numbers are hexadecimal.
 *
 * Pages come top-down from an arena and are filled with 0xAA, since a driver may rely on no contents. An address in
 * the arena is written PAGE:OFFSET, PAGE counting from 0 in the order of allocation. Slots s0..s3f hold pointers.
 */
#ifndef HOST_H
#define HOST_H

#include "broker.h"

/* Hand-off blocks that SMM_QRY_HOB answers with. */
extern UINT8 gHobs[128];

const char     *AddressText(const void *Value);
const char     *GuidName(const EFI_GUID *Guid);
const EFI_GUID *GuidOf(const char *Name);

/* Calls whoever registered for a message, and answers with the status. */
void Message(const EFI_GUID *Guid);

/* callbacks.c: pointers that commands store and read, and four notify functions; the first one can misbehave. */
extern void                  *gSlots[64];
extern void                  *gRegistrations[4];
extern EFI_MM_NOTIFY_FN const gCallbacks[4];
typedef enum { Behave, UnhookSelf, UnhookNext, HookAnother, UninstallAnnounced } MISBEHAVIOUR;
extern MISBEHAVIOUR gMisbehaviour; /* of the next call of the first callback */

#endif
