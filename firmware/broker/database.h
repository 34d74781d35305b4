/*
 * Records of the protocol database: docs/reference/gmmst.md section 5.1. They lie in ring-3 pool, and an EFI_HANDLE
 * is the address of an IHANDLE, so drivers and tools can see them: the layout is part of the contract.
 */
#ifndef BROKER_DATABASE_H
#define BROKER_DATABASE_H

#include "broker.h"
#include "list.h"

#define HANDLE_SIGNATURE             ((UINTN)SIGNATURE_32('h', 'n', 'd', 'l'))
#define PROTOCOL_ENTRY_SIGNATURE     ((UINTN)SIGNATURE_32('p', 'r', 't', 'e'))
#define PROTOCOL_INTERFACE_SIGNATURE ((UINTN)SIGNATURE_32('p', 'i', 'f', 'c'))
#define PROTOCOL_NOTIFY_SIGNATURE    ((UINTN)SIGNATURE_32('p', 'r', 't', 'n'))

typedef struct {
  UINTN      Signature;
  LIST_ENTRY AllHandles;
  LIST_ENTRY Protocols; /* of PROTOCOL_INTERFACE.Link */
  UINTN      LocateRequest;
} IHANDLE;

/* One for each GUID that was ever installed or waited for; never freed. */
typedef struct {
  UINTN      Signature;
  LIST_ENTRY AllEntries;
  EFI_GUID   ProtocolID;
  LIST_ENTRY Protocols; /* of PROTOCOL_INTERFACE.ByProtocol, in order of installation */
  LIST_ENTRY Notify;    /* of PROTOCOL_NOTIFY.Link, in order of registration */
} PROTOCOL_ENTRY;

typedef struct {
  UINTN           Signature;
  LIST_ENTRY      Link;
  IHANDLE        *Handle;
  LIST_ENTRY      ByProtocol;
  PROTOCOL_ENTRY *Protocol;
  void           *Interface;
} PROTOCOL_INTERFACE;

/* Position: the last interface (or the list itself) that this registration has seen. */
typedef struct {
  UINTN            Signature;
  PROTOCOL_ENTRY  *Protocol;
  LIST_ENTRY       Link;
  EFI_MM_NOTIFY_FN Function;
  LIST_ENTRY      *Position;
} PROTOCOL_NOTIFY;

MM_STATIC_ASSERT(sizeof(IHANDLE) == 48 && offsetof(IHANDLE, AllHandles) == 8);
MM_STATIC_ASSERT(offsetof(IHANDLE, Protocols) == 0x18 && offsetof(IHANDLE, LocateRequest) == 0x28);
MM_STATIC_ASSERT(sizeof(PROTOCOL_ENTRY) == 72 && offsetof(PROTOCOL_ENTRY, ProtocolID) == 0x18);
MM_STATIC_ASSERT(offsetof(PROTOCOL_ENTRY, Protocols) == 0x28 && offsetof(PROTOCOL_ENTRY, Notify) == 0x38);
MM_STATIC_ASSERT(sizeof(PROTOCOL_INTERFACE) == 64 && offsetof(PROTOCOL_INTERFACE, Handle) == 0x18);
MM_STATIC_ASSERT(offsetof(PROTOCOL_INTERFACE, ByProtocol) == 0x20 && offsetof(PROTOCOL_INTERFACE, Interface) == 0x38);
MM_STATIC_ASSERT(sizeof(PROTOCOL_NOTIFY) == 48 && offsetof(PROTOCOL_NOTIFY, Link) == 0x10);
MM_STATIC_ASSERT(offsetof(PROTOCOL_NOTIFY, Function) == 0x20 && offsetof(PROTOCOL_NOTIFY, Position) == 0x28);

/* database.c */
extern LIST_ENTRY gHandleList;

/* The handle if its signature is right, else NULL. A wild pointer faults here, as on the device. */
IHANDLE *HandleFrom(EFI_HANDLE Handle);

/* The record of a GUID, or NULL; made if there is none and Create is set (then NULL means out of memory). */
PROTOCOL_ENTRY *FindProtocolEntry(const EFI_GUID *Protocol, BOOLEAN Create);

/* notify.c */

/* Calls everyone who waits for this protocol. The callbacks may install, uninstall, register and unhook. */
void NotifyInstalled(PROTOCOL_ENTRY *Entry, void *Interface, IHANDLE *Handle);

/* Moves registrations that stand on this interface one back, since it is about to go. */
void NotifyForget(const PROTOCOL_INTERFACE *Interface);

/* The first interface that a registration has not seen yet, or NULL; also NULL for what is no registration. */
PROTOCOL_INTERFACE *NotifyNext(void *Registration);

/* Takes note that the registration has seen the next interface. */
void NotifyAdvance(void *Registration);

#endif
