/* Finding handles and interfaces: docs/reference/gmmst.md sections 5.6 and 5.7. */
#include "database.h"

EFI_STATUS EFIAPI BrokerLocateProtocol(const EFI_GUID *Protocol, void *Registration, void **Interface) {
  PROTOCOL_INTERFACE *Record = NULL;

  if (Protocol == NULL || Interface == NULL) {
    return EFI_INVALID_PARAMETER;
  }
  *Interface = NULL;

  if (Registration != NULL) {
    Record = NotifyNext(Registration); /* which knows its own GUID: the argument is not looked at */
  } else {
    PROTOCOL_ENTRY *Entry = FindProtocolEntry(Protocol, FALSE);

    if (Entry != NULL && !ListIsEmpty(&Entry->Protocols)) {
      Record = LIST_OWNER(Entry->Protocols.ForwardLink, PROTOCOL_INTERFACE, ByProtocol);
    }
  }
  if (Record == NULL) {
    return EFI_NOT_FOUND;
  }

  *Interface = Record->Interface;
  if (Registration != NULL) {
    NotifyAdvance(Registration);
  }
  return EFI_SUCCESS;
}

/* Where the handles go: as many as fit are written, all are counted. */
typedef struct {
  EFI_HANDLE *Buffer;
  UINTN       Space;
  UINTN       Needed;
} HANDLE_SINK;

static void Put(HANDLE_SINK *Sink, EFI_HANDLE Handle) {
  Sink->Needed += sizeof Handle;
  if (Sink->Needed <= Sink->Space) {
    *Sink->Buffer++ = Handle;
  }
}

static void PutAll(HANDLE_SINK *Sink) {
  LIST_FOR_EACH(Link, &gHandleList) { Put(Sink, LIST_OWNER(Link, IHANDLE, AllHandles)); }
}

static void PutByProtocol(HANDLE_SINK *Sink, const EFI_GUID *Protocol) {
  PROTOCOL_ENTRY *Entry = FindProtocolEntry(Protocol, FALSE);

  if (Entry != NULL) {
    LIST_FOR_EACH(Link, &Entry->Protocols) { Put(Sink, LIST_OWNER(Link, PROTOCOL_INTERFACE, ByProtocol)->Handle); }
  }
}

static void PutNew(HANDLE_SINK *Sink, void *Registration) {
  PROTOCOL_INTERFACE *Record = NotifyNext(Registration);

  if (Record != NULL) {
    Put(Sink, Record->Handle);
  }
}

EFI_STATUS EFIAPI BrokerLocateHandle(EFI_LOCATE_SEARCH_TYPE SearchType, const EFI_GUID *Protocol, void *SearchKey,
                                     UINTN *BufferSize, EFI_HANDLE *Buffer) {
  HANDLE_SINK Sink;

  if (BufferSize == NULL || (*BufferSize > 0 && Buffer == NULL)) {
    return EFI_INVALID_PARAMETER;
  }
  Sink = (HANDLE_SINK){Buffer, *BufferSize, 0};

  if (SearchType == AllHandles) {
    PutAll(&Sink);
  } else if (SearchType == ByRegisterNotify && SearchKey != NULL) {
    PutNew(&Sink, SearchKey);
  } else if (SearchType == ByProtocol && Protocol != NULL) {
    PutByProtocol(&Sink, Protocol);
  } else {
    return EFI_INVALID_PARAMETER;
  }

  if (Sink.Needed == 0) {
    return EFI_NOT_FOUND;
  }
  *BufferSize = Sink.Needed;
  if (Sink.Needed > Sink.Space) {
    return EFI_BUFFER_TOO_SMALL;
  }
  if (SearchType == ByRegisterNotify) {
    NotifyAdvance(SearchKey);
  }
  return EFI_SUCCESS;
}
