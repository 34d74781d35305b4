/* Doubly linked lists through members, as PI components lay them out in memory. */
#ifndef BROKER_LIST_H
#define BROKER_LIST_H

#include <mm/base.h>

typedef struct LIST_ENTRY {
  struct LIST_ENTRY *ForwardLink;
  struct LIST_ENTRY *BackLink;
} LIST_ENTRY;

#define LIST_INITIALISER(list) {&(list), &(list)}

/* The structure of `type` whose `member` is at `link`. */
#define LIST_OWNER(link, type, member) ((type *)((UINT8 *)(link)-offsetof(type, member)))

#define LIST_FOR_EACH(link, list) \
  for (LIST_ENTRY *link = (list)->ForwardLink; link != (list); link = link->ForwardLink)

static inline void ListInitialise(LIST_ENTRY *List) { List->ForwardLink = List->BackLink = List; }

static inline BOOLEAN ListIsEmpty(const LIST_ENTRY *List) { return (BOOLEAN)(List->ForwardLink == List); }

static inline void ListInsertAfter(LIST_ENTRY *Place, LIST_ENTRY *Entry) {
  Entry->ForwardLink = Place->ForwardLink;
  Entry->BackLink = Place;
  Place->ForwardLink->BackLink = Entry;
  Place->ForwardLink = Entry;
}

static inline void ListInsertHead(LIST_ENTRY *List, LIST_ENTRY *Entry) { ListInsertAfter(List, Entry); }

static inline void ListInsertTail(LIST_ENTRY *List, LIST_ENTRY *Entry) { ListInsertAfter(List->BackLink, Entry); }

static inline void ListRemove(LIST_ENTRY *Entry) {
  Entry->BackLink->ForwardLink = Entry->ForwardLink;
  Entry->ForwardLink->BackLink = Entry->BackLink;
}

#endif
