/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that threads share: whoever wants more than is left waits, in FIFO order. It is only
 * counted here. Any thread.
 */
#ifndef UBD_MEMORY_BUDGET_H
#define UBD_MEMORY_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "colock.h"

/* A coroutine that waits. Private to memory_budget.c. */
struct budget_waiter {
	struct coroutine *co;
	size_t bytes;
	bool granted;
	struct budget_waiter *next;
};

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

/*
 * Takes @bytes, no more than there are in all. False if memory_budget_cancel() was called for
 * @waiter meanwhile, which the caller keeps, and nothing is taken. A coroutine.
 */
bool memory_budget_co_take(struct memory_budget *budget, size_t bytes,
			   struct budget_waiter *waiter);
/* Ends the wait, unless it is about to end; memory_budget_co_take() has not returned. */
void memory_budget_cancel(struct memory_budget *budget, struct budget_waiter *waiter);
void memory_budget_give_back(struct memory_budget *budget, size_t bytes);

/* Whether somebody waits, for whom others should give back what they can do without. */
bool memory_budget_is_wanted(const struct memory_budget *budget);

#endif
