// SPDX-License-Identifier: GPL-2.0-or-later
/* The loops on which the connections of clients run; see client_loops.h. */
#include "client_loops.h"

#include <errno.h>
#include <pthread.h>

#include "aio.h"
#include "colock.h"
#include "error.h"

/* More of them hardly help, but take memory: some 20 KiB each for the ring. */
#define MAX_LOOPS    8
/* For what one turn submits. */
#define RING_ENTRIES 128

struct client_loop {
	struct client_loops *all;
	struct aio_loop *loop;
	pthread_t thread;
	bool is_running;
	unsigned nr_visits;
};

struct client_loops {
	struct thread_lock lock; /* also guards what its loops and their visits have */
	pthread_cond_t ended;	 /* a visit */
	unsigned nr;
	struct client_loop loops[MAX_LOOPS];
};

static unsigned choose_nr(unsigned max_clients)
{
	return MIN(MIN(g_get_num_processors(), MAX_LOOPS), max_clients);
}

struct client_loops *client_loops_new(unsigned max_clients, GError **err)
{
	struct client_loops *loops = g_new0(struct client_loops, 1);

	thread_lock_init(&loops->lock);
	pthread_cond_init(&loops->ended, NULL);
	for (unsigned nr = choose_nr(max_clients); loops->nr < nr; loops->nr++) {
		struct client_loop *one = &loops->loops[loops->nr];

		one->all = loops;
		one->loop = aio_loop_new_for(RING_FILES | RING_MESSAGES, RING_ENTRIES, err);
		if (!one->loop) {
			client_loops_free(loops);
			return NULL;
		}
	}
	return loops;
}

void client_loops_free(struct client_loops *loops)
{
	if (!loops)
		return;
	for (unsigned i = 0; i < loops->nr; i++) {
		struct client_loop *one = &loops->loops[i];

		if (one->is_running) {
			aio_loop_stop(one->loop);
			pthread_join(one->thread, NULL);
		}
		aio_loop_free(one->loop);
	}
	pthread_cond_destroy(&loops->ended);
	thread_lock_destroy(&loops->lock);
	g_free(loops);
}

static void *loop_thread(void *arg)
{
	struct client_loop *one = arg;

	pthread_setname_np(pthread_self(), "ubd-nbd");
	aio_loop_run(one->loop);
	return NULL;
}

/* The first of those with the fewest visits. */
static struct client_loop *choose(struct client_loops *loops) REQUIRES(loops->lock)
{
	struct client_loop *best = &loops->loops[0];

	for (unsigned i = 1; i < loops->nr; i++)
		if (loops->loops[i].nr_visits < best->nr_visits)
			best = &loops->loops[i];
	return best;
}

static int run(struct client_loops *loops, struct client_loop *one) REQUIRES(loops->lock)
{
	int res;

	if (one->is_running)
		return 0;
	res = -pthread_create(&one->thread, NULL, loop_thread, one);
	one->is_running = res == 0;
	return res;
}

static void visit_co(void *arg)
{
	struct client_visit *visit = arg;
	struct client_loop *one = visit->loop;
	struct client_loops *loops = one->all;

	visit->co_fn(visit->arg);
	/* What it has left for the end of the turn is not freed before it has run. */
	co_turn();
	thread_lock(&loops->lock);
	one->nr_visits--;
	visit->has_ended = true;
	pthread_cond_broadcast(&loops->ended);
	thread_unlock(&loops->lock);
}

int client_visit_begin(struct client_loops *loops, struct client_visit *visit, GError **err)
{
	struct client_loop *one;
	int res;

	thread_lock(&loops->lock);
	one = choose(loops);
	res = run(loops, one);
	visit->loop = one;
	if (res == 0 && !try_co_start_on(one->loop, visit_co, visit))
		res = -ENOMEM;
	if (res == 0)
		one->nr_visits++;
	else
		visit->loop = NULL;
	thread_unlock(&loops->lock);
	return res < 0 ? error_set(err, res, "a thread for a client") : 0;
}

void client_visit_wait(struct client_visit *visit)
{
	struct client_loops *loops;

	if (!visit->loop)
		return;
	loops = visit->loop->all;
	thread_lock(&loops->lock);
	while (!visit->has_ended)
		pthread_cond_wait(&loops->ended, &loops->lock.mutex);
	thread_unlock(&loops->lock);
}
