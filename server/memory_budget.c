// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that threads share; see memory_budget.h. */
#include "memory_budget.h"

#include <assert.h>

void memory_budget_init(struct memory_budget *budget, uint64_t bytes) NO_THREAD_SAFETY_ANALYSIS
{
	*budget = (struct memory_budget){ .total = bytes, .left = bytes, .end = &budget->first };
	thread_lock_init(&budget->lock);
}

void memory_budget_destroy(struct memory_budget *budget) NO_THREAD_SAFETY_ANALYSIS
{
	assert(budget->left == budget->total && !budget->first);
	thread_lock_destroy(&budget->lock);
}

/* Gives those what they wait for that now come first. */
static void serve_waiters(struct memory_budget *budget) REQUIRES(budget->lock)
{
	struct budget_waiter *waiter;

	while ((waiter = budget->first) && waiter->bytes <= budget->left) {
		budget->left -= waiter->bytes;
		budget->first = waiter->next;
		if (!budget->first)
			budget->end = &budget->first;
		waiter->granted = true;
		co_wake(waiter->co);
	}
	atomic_store(&budget->wanted, budget->first != NULL);
}

bool memory_budget_co_take(struct memory_budget *budget, size_t bytes, struct budget_waiter *waiter)
{
	bool waits;

	assert(bytes <= budget->total);
	thread_lock(&budget->lock);
	waits = budget->first || budget->left < bytes;
	*waiter = (struct budget_waiter){ .co = co_self(), .bytes = bytes, .granted = !waits };
	if (waits) {
		*budget->end = waiter;
		budget->end = &waiter->next;
		atomic_store(&budget->wanted, true);
	} else {
		budget->left -= bytes;
	}
	thread_unlock(&budget->lock);
	if (waits)
		co_yield();
	return waiter->granted;
}

static void remove_waiter(struct memory_budget *budget, const struct budget_waiter *waiter)
	REQUIRES(budget->lock)
{
	struct budget_waiter **at = &budget->first;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	if (!*at)
		budget->end = at;
}

void memory_budget_cancel(struct memory_budget *budget, struct budget_waiter *waiter)
{
	thread_lock(&budget->lock);
	if (!waiter->granted) {
		remove_waiter(budget, waiter);
		co_wake(waiter->co);
		serve_waiters(budget);
	}
	thread_unlock(&budget->lock);
}

void memory_budget_give_back(struct memory_budget *budget, size_t bytes)
{
	thread_lock(&budget->lock);
	budget->left += bytes;
	serve_waiters(budget);
	thread_unlock(&budget->lock);
}

bool memory_budget_is_wanted(const struct memory_budget *budget)
{
	return atomic_load_explicit(&budget->wanted, memory_order_relaxed);
}
