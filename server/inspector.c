// SPDX-License-Identifier: GPL-2.0-or-later
/* Checks the files of the image; see inspector.h. */
#include "inspector.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>

#include "error.h"

#define INTERVAL_SECONDS 5

struct inspector {
	struct image *image;
	int event_fd;
	pthread_t thread;
	GMutex lock;
	GCond end;
	bool ends; /* guarded by lock */
};

/* False: the thread must end. */
static bool wait_for_turn(struct inspector *inspector)
{
	gint64 turn = g_get_monotonic_time() + INTERVAL_SECONDS * G_USEC_PER_SEC;
	bool ends;

	g_mutex_lock(&inspector->lock);
	while (!inspector->ends && g_cond_wait_until(&inspector->end, &inspector->lock, turn))
		;
	ends = inspector->ends;
	g_mutex_unlock(&inspector->lock);
	return !ends;
}

static void *inspector_thread(void *arg)
{
	struct inspector *inspector = arg;
	unsigned known = 0;

	pthread_setname_np(pthread_self(), "ubd-inspector");
	while (wait_for_turn(inspector)) {
		unsigned troubles;

		image_inspect(inspector->image);
		troubles = image_troubles(inspector->image);
		if (troubles & ~known)
			eventfd_write(inspector->event_fd, 1);
		known = troubles;
	}
	return NULL;
}

struct inspector *inspector_new(struct image *image, int event_fd, GError **err)
{
	struct inspector *inspector = g_new0(struct inspector, 1);
	int error;

	inspector->image = image;
	inspector->event_fd = event_fd;
	g_mutex_init(&inspector->lock);
	g_cond_init(&inspector->end);
	error = pthread_create(&inspector->thread, NULL, inspector_thread, inspector);
	if (!error)
		return inspector;
	error_set(err, -error, "cannot create a thread");
	g_free(inspector);
	return NULL;
}

void inspector_free(struct inspector *inspector)
{
	if (!inspector)
		return;
	g_mutex_lock(&inspector->lock);
	inspector->ends = true;
	g_cond_signal(&inspector->end);
	g_mutex_unlock(&inspector->lock);
	pthread_join(inspector->thread, NULL);
	g_mutex_clear(&inspector->lock);
	g_cond_clear(&inspector->end);
	g_free(inspector);
}
