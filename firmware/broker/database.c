/* Lookup of handles and GUIDs: see database.h. */
#include <mm/runtime.h>

#include "database.h"

LIST_ENTRY gHandleList = LIST_INITIALISER(gHandleList);

static LIST_ENTRY mProtocolEntries = LIST_INITIALISER(mProtocolEntries);

IHANDLE *HandleFrom(EFI_HANDLE Handle) {
  IHANDLE *Record = Handle;

  return Record != NULL && Record->Signature == HANDLE_SIGNATURE ? Record : NULL;
}

PROTOCOL_ENTRY *FindProtocolEntry(const EFI_GUID *Protocol, BOOLEAN Create) {
  PROTOCOL_ENTRY *Entry;

  LIST_FOR_EACH(Link, &mProtocolEntries) {
    Entry = LIST_OWNER(Link, PROTOCOL_ENTRY, AllEntries);
    if (MmGuidEqual(&Entry->ProtocolID, Protocol)) {
      return Entry;
    }
  }

  Entry = Create ? PoolAllocateZero(sizeof *Entry) : NULL;
  if (Entry != NULL) {
    Entry->Signature = PROTOCOL_ENTRY_SIGNATURE;
    Entry->ProtocolID = *Protocol;
    ListInitialise(&Entry->Protocols);
    ListInitialise(&Entry->Notify);
    ListInsertTail(&mProtocolEntries, &Entry->AllEntries);
  }
  return Entry;
}
