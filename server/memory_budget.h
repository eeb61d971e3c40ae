/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that threads share: whoever wants more than is left waits, in FIFO order. It is only
 * counted here. Any thread.
 */
#ifndef UBD_MEMORY_BUDGET_H
#define UBD_MEMORY_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "colock.h"

struct budget_waiter;

/* Private to memory_budget.c. */
struct memory_budget {
	struct thread_lock lock;
	uint64_t total;
	uint64_t left GUARDED_BY(lock);
	struct budget_waiter *first, **end GUARDED_BY(lock);
	_Atomic bool wanted; /* somebody waits */
};

void memory_budget_init(struct memory_budget *budget, uint64_t bytes);
/* Everything was given back. */
void memory_budget_destroy(struct memory_budget *budget);

/* Takes @bytes, no more than there are in all. A coroutine. */
void memory_budget_co_take(struct memory_budget *budget, size_t bytes);
void memory_budget_give_back(struct memory_budget *budget, size_t bytes);

/* Whether somebody waits, for whom others should give back what they can do without. */
bool memory_budget_is_wanted(const struct memory_budget *budget);

#endif
