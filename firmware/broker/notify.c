/* Waiting for protocols: docs/reference/gmmst.md section 5.5. */
#include "database.h"

/*
 * A callback may unhook itself or another registration. While any callback runs, what is unhooked stays linked with
 * its function cleared, so that no walk ever reads freed memory; the outermost walk sweeps up after itself.
 */
static UINTN mWalks;

static PROTOCOL_NOTIFY *NotifyFrom(LIST_ENTRY *Link) { return LIST_OWNER(Link, PROTOCOL_NOTIFY, Link); }

static void Free(PROTOCOL_NOTIFY *Notify) {
  ListRemove(&Notify->Link);
  BrokerFreePool(Notify);
}

/* Unhooked registrations of GUIDs other than the one walked are swept when their own GUID is walked or used next. */
static void Sweep(PROTOCOL_ENTRY *Entry) {
  LIST_ENTRY *Link = Entry->Notify.ForwardLink;

  while (mWalks == 0 && Link != &Entry->Notify) {
    PROTOCOL_NOTIFY *Notify = NotifyFrom(Link);

    Link = Link->ForwardLink;
    if (Notify->Function == NULL) {
      Free(Notify);
    }
  }
}

void NotifyInstalled(PROTOCOL_ENTRY *Entry, void *Interface, IHANDLE *Handle) {
  mWalks++;
  LIST_FOR_EACH(Link, &Entry->Notify) {
    EFI_MM_NOTIFY_FN Function = NotifyFrom(Link)->Function;

    if (Function != NULL) {
      Function(&Entry->ProtocolID, Interface, Handle);
    }
  }
  mWalks--;
  Sweep(Entry);
}

void NotifyForget(const PROTOCOL_INTERFACE *Interface) {
  LIST_FOR_EACH(Link, &Interface->Protocol->Notify) {
    PROTOCOL_NOTIFY *Notify = NotifyFrom(Link);

    if (Notify->Position == &Interface->ByProtocol) {
      Notify->Position = Interface->ByProtocol.BackLink;
    }
  }
}

PROTOCOL_INTERFACE *NotifyNext(void *Registration) {
  PROTOCOL_NOTIFY *Notify = Registration;
  LIST_ENTRY      *Link;

  if (Notify->Signature != PROTOCOL_NOTIFY_SIGNATURE) {
    return NULL;
  }
  Link = Notify->Position->ForwardLink;
  return Link == &Notify->Protocol->Protocols ? NULL : LIST_OWNER(Link, PROTOCOL_INTERFACE, ByProtocol);
}

void NotifyAdvance(void *Registration) {
  PROTOCOL_NOTIFY *Notify = Registration;

  Notify->Position = Notify->Position->ForwardLink;
}

static EFI_STATUS Unhook(const EFI_GUID *Protocol, const void *Registration) {
  PROTOCOL_ENTRY *Entry = FindProtocolEntry(Protocol, FALSE);

  if (Entry == NULL) {
    return EFI_NOT_FOUND;
  }
  LIST_FOR_EACH(Link, &Entry->Notify) {
    PROTOCOL_NOTIFY *Notify = NotifyFrom(Link);

    if (Notify == Registration && Notify->Function != NULL) {
      Notify->Signature = 0;
      Notify->Function = NULL;
      Sweep(Entry);
      return EFI_SUCCESS;
    }
  }
  return EFI_NOT_FOUND;
}

static EFI_STATUS Hook(const EFI_GUID *Protocol, EFI_MM_NOTIFY_FN Function, void **Registration) {
  PROTOCOL_ENTRY  *Entry = FindProtocolEntry(Protocol, TRUE);
  PROTOCOL_NOTIFY *Notify;

  if (Entry == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  LIST_FOR_EACH(Link, &Entry->Notify) {
    if (NotifyFrom(Link)->Function == Function) {
      *Registration = NotifyFrom(Link);
      return EFI_SUCCESS;
    }
  }

  Notify = PoolAllocateZero(sizeof *Notify);
  if (Notify == NULL) {
    return EFI_OUT_OF_RESOURCES;
  }
  Notify->Signature = PROTOCOL_NOTIFY_SIGNATURE;
  Notify->Protocol = Entry;
  Notify->Function = Function;
  Notify->Position = Entry->Protocols.BackLink; /* what is installed already is not new to this registration */
  ListInsertTail(&Entry->Notify, &Notify->Link);
  *Registration = Notify;
  return EFI_SUCCESS;
}

EFI_STATUS EFIAPI BrokerRegisterProtocolNotify(const EFI_GUID *Protocol, EFI_MM_NOTIFY_FN Function,
                                               void **Registration) {
  if (Protocol == NULL || Registration == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  return Function == NULL ? Unhook(Protocol, *Registration) : Hook(Protocol, Function, Registration);
}
