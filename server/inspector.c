// SPDX-License-Identifier: GPL-2.0-or-later
/* Checks the files of the image; see inspector.h. */
#include "inspector.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <time.h>

#include "aio.h"
#include "error.h"
#include "space.h"

#define INTERVAL_SECONDS 5

struct inspector {
	struct image *image;
	int event_fd;
	pthread_t thread;
	/* Not GLib's, which ThreadSanitizer does not know. */
	pthread_mutex_t lock;
	pthread_cond_t end;
	bool ends; /* guarded by lock */
};

/* False: the thread must end. */
static bool wait_for_turn(struct inspector *inspector)
{
	struct timespec turn;
	bool ends;

	clock_gettime(CLOCK_MONOTONIC, &turn);
	turn.tv_sec += INTERVAL_SECONDS;
	pthread_mutex_lock(&inspector->lock);
	while (!inspector->ends &&
	       pthread_cond_timedwait(&inspector->end, &inspector->lock, &turn) == 0)
		;
	ends = inspector->ends;
	pthread_mutex_unlock(&inspector->lock);
	return !ends;
}

static void *inspector_thread(void *arg)
{
	struct inspector *inspector = arg;
	unsigned known = 0, level = 0;

	pthread_setname_np(pthread_self(), "ubd-inspector");
	do {
		unsigned troubles, new_level;
		struct image_space space;

		image_inspect(inspector->image);
		troubles = image_troubles(inspector->image);
		space = image_space(inspector->image);
		new_level = space_level(&space, level);
		if (troubles & ~known || new_level != level)
			eventfd_write(inspector->event_fd, 1);
		known = troubles;
		level = new_level;
	} while (wait_for_turn(inspector));
	return NULL;
}

static void init_wait(struct inspector *inspector)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&inspector->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&inspector->end, &attr);
	pthread_condattr_destroy(&attr);
}

struct inspector *inspector_new(struct image *image, int event_fd, GError **err)
{
	struct inspector *inspector = g_new0(struct inspector, 1);
	int error;

	inspector->image = image;
	inspector->event_fd = event_fd;
	init_wait(inspector);
	error = pthread_create(&inspector->thread, NULL, inspector_thread, inspector);
	if (!error)
		return inspector;
	error_set(err, -error, "cannot create a thread");
	g_free(inspector);
	return NULL;
}

static int join(void *arg)
{
	const struct inspector *inspector = arg;

	pthread_join(inspector->thread, NULL);
	return 0;
}

void inspector_co_free(struct inspector *inspector)
{
	if (!inspector)
		return;
	pthread_mutex_lock(&inspector->lock);
	inspector->ends = true;
	pthread_cond_signal(&inspector->end);
	pthread_mutex_unlock(&inspector->lock);
	/* Without another thread, this one waits. */
	if (co_run_on_thread("ubd-end", join, inspector) < 0)
		join(inspector);
	pthread_mutex_destroy(&inspector->lock);
	pthread_cond_destroy(&inspector->end);
	g_free(inspector);
}
