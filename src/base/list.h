// SPDX-License-Identifier: Apache-2.0
//
// An intrusive doubly linked list. A node is embedded in the object; rh_list_entry gets the object back.
// A node that is in no list has next == NULL, so that "is it queued?" needs no flag.
#ifndef RH_BASE_LIST_H
#define RH_BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct rh_list_node {
  struct rh_list_node *next;
  struct rh_list_node *prev;
} rh_list_node;

typedef struct rh_list {
  rh_list_node head;  // circular: an empty list points at itself
  size_t count;
} rh_list;

#define rh_list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void rh_list_init(rh_list *list) {
  list->head.next = &list->head;
  list->head.prev = &list->head;
  list->count = 0;
}

static inline bool rh_list_linked(const rh_list_node *node) { return node->next != NULL; }

static inline void rh_list_insert_after(rh_list *list, rh_list_node *at, rh_list_node *node) {
  assert(!rh_list_linked(node));
  node->prev = at;
  node->next = at->next;
  at->next->prev = node;
  at->next = node;
  list->count++;
}

static inline void rh_list_push_back(rh_list *list, rh_list_node *node) {
  rh_list_insert_after(list, list->head.prev, node);
}

static inline void rh_list_push_front(rh_list *list, rh_list_node *node) {
  rh_list_insert_after(list, &list->head, node);
}

static inline void rh_list_remove(rh_list *list, rh_list_node *node) {
  assert(rh_list_linked(node) && list->count > 0);
  node->prev->next = node->next;
  node->next->prev = node->prev;
  node->next = NULL;
  node->prev = NULL;
  list->count--;
}

static inline rh_list_node *rh_list_first(const rh_list *list) { return list->count == 0 ? NULL : list->head.next; }

static inline rh_list_node *rh_list_next(const rh_list *list, const rh_list_node *node) {
  return node->next == &list->head ? NULL : node->next;
}

// Walk a list; the current node may be removed inside the loop, others may not.
#define rh_list_each(list, node)                                                                                      \
  for (rh_list_node *node = rh_list_first(list), *node##_next = node ? rh_list_next(list, node) : NULL; node != NULL; \
       node = node##_next, node##_next = node ? rh_list_next(list, node) : NULL)

#endif
