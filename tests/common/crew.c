// SPDX-License-Identifier: GPL-2.0-or-later
/* Several loops, a thread each; see crew.h. */
#include "crew.h"

#include <glib.h>
#include <stdatomic.h>

#include "fixed.h"

#define RING_ENTRIES 128

struct crew {
	GPtrArray *loops;
	GPtrArray *threads; /* of all loops but the first */
};

struct fan {
	co_fn *fn;
	struct coroutine *waiter;
	_Atomic unsigned left;
};

struct fan_job {
	struct fan *fan;
	void *arg;
};

static void *loop_thread(void *loop)
{
	aio_loop_run(loop);
	return NULL;
}

struct crew *crew_new(unsigned loops)
{
	struct crew *crew = g_new0(struct crew, 1);

	crew->loops = g_ptr_array_new();
	crew->threads = g_ptr_array_new();
	for (unsigned i = 0; i < loops; i++) {
		g_autoptr(GError) err = NULL;
		struct aio_loop *loop = aio_loop_new(RING_ENTRIES, &err);

		if (!loop)
			g_error("no loop: %s", err->message);
		if (aio_loop_make_buffers(loop, FIXED_BUFFERS) < 0)
			g_error("no table of registered buffers");
		g_ptr_array_add(crew->loops, loop);
		if (i)
			g_ptr_array_add(crew->threads, g_thread_new("loop", loop_thread, loop));
	}
	return crew;
}

void crew_free(struct crew *crew)
{
	if (!crew)
		return;
	for (unsigned i = 1; i < crew->loops->len; i++) {
		aio_loop_stop(crew->loops->pdata[i]);
		g_thread_join(crew->threads->pdata[i - 1]);
	}
	for (unsigned i = 0; i < crew->loops->len; i++)
		aio_loop_free(crew->loops->pdata[i]);
	g_ptr_array_free(crew->loops, true);
	g_ptr_array_free(crew->threads, true);
	g_free(crew);
}

void crew_run_co(struct crew *crew, co_fn *fn, void *arg)
{
	aio_loop_run_co(crew->loops->pdata[0], fn, arg);
}

static void fan_job_co(void *arg)
{
	struct fan_job *job = arg;
	struct fan *fan = job->fan;

	fan->fn(job->arg);
	if (atomic_fetch_sub(&fan->left, 1) == 1)
		co_wake(fan->waiter);
}

void crew_co_run_all(struct crew *crew, co_fn *fn, void *const *args, unsigned count)
{
	struct fan fan = { .fn = fn, .waiter = co_self(), .left = count };
	g_autofree struct fan_job *jobs = g_new(struct fan_job, count);

	if (!count)
		return;
	for (unsigned i = 0; i < count; i++) {
		jobs[i] = (struct fan_job){ &fan, args[i] };
		co_start_on(crew->loops->pdata[i % crew->loops->len], fan_job_co, &jobs[i]);
	}
	co_yield();
}
