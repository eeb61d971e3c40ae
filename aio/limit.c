// SPDX-License-Identifier: GPL-2.0-or-later
/* Limits: when operations give up. Sleeping is waiting for nothing but a limit. */
#include <errno.h>
#include <glib.h>

#include "aio.h"
#include "internal.h"

uint64_t aio_ns_from_now(uint64_t ns)
{
	uint64_t now = aio_now_ns();

	return now + MIN(ns, AIO_NEVER - 1 - now);
}

void aio_limit_cancel(struct aio_limit *limit)
{
	limit->cancelled = true;
	for (struct loop_wait *wait = *aio_loop_waits(aio_loop_current()); wait; wait = wait->next)
		if (wait->limit == limit && !wait->given_up)
			wait->end_ns = 0;
}

int limit_reason(const struct aio_limit *limit)
{
	return limit->cancelled ? -ECANCELED : -ETIME;
}

int limit_error(const struct aio_limit *limit)
{
	bool is_over = limit && (limit->cancelled ||
				 (limit->end_ns != AIO_NEVER && limit->end_ns <= aio_now_ns()));

	return is_over ? limit_reason(limit) : 0;
}

void loop_wait_add(struct loop_wait *wait)
{
	struct loop_wait **waits = aio_loop_waits(wait->co->loop);

	wait->next = *waits;
	*waits = wait;
}

void loop_wait_wake(struct loop_wait *wait)
{
	waits_remove(aio_loop_waits(wait->co->loop), wait);
	co_wake(wait->co);
}

int co_wait_limit(struct aio_limit *limit)
{
	struct loop_wait wait = {
		.co = co_self(),
		.limit = limit,
		.end_ns = limit->end_ns,
		.end = loop_wait_wake,
		.fd = -1,
	};
	int res = limit_error(limit);

	if (res)
		return res;
	loop_wait_add(&wait);
	co_yield();
	return limit_reason(limit);
}

void co_sleep_ns(uint64_t ns)
{
	struct aio_limit limit = { .end_ns = aio_ns_from_now(ns) };

	co_wait_limit(&limit);
}
