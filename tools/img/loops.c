// SPDX-License-Identifier: GPL-2.0-or-later
/* Several loops, each on its own thread; see loops.h. */
#include "loops.h"

#include "tool.h"

struct loop_thread {
	struct aio_loop *loop;
	GThread *thread; /* NULL for the loop that was running already */
};

static void *run(void *loop)
{
	aio_loop_run(loop);
	return NULL;
}

struct loops *loops_new(unsigned nr)
{
	struct loops *loops = g_new(struct loops, 1);

	*loops = (struct loops){ .nr = 1, .threads = g_new0(struct loop_thread, nr) };
	loops->threads[0].loop = aio_loop_current();
	for (; loops->nr < nr; loops->nr++) {
		struct loop_thread *thread = &loops->threads[loops->nr];

		thread->loop = tool_loop_new();
		if (!thread->loop) {
			loops_free(loops);
			return NULL;
		}
		thread->thread = g_thread_new("ubd-loop", run, thread->loop);
	}
	return loops;
}

struct aio_loop *loops_at(const struct loops *loops, unsigned number)
{
	return loops->threads[number].loop;
}

void loops_free(struct loops *loops)
{
	if (!loops)
		return;
	for (unsigned i = 1; i < loops->nr; i++) {
		aio_loop_stop(loops->threads[i].loop);
		g_thread_join(loops->threads[i].thread);
		aio_loop_free(loops->threads[i].loop);
	}
	g_free(loops->threads);
	g_free(loops);
}
