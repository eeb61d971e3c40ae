// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The waits of a loop that may have to give up, and, on a loop without a ring, those for files.
 *
 * Between two turns, the loop ends the waits whose time has come. What that means depends on what
 * is waited for, and is up to the wait. Cancelling is a change of the time, so there is one way for
 * both, and nothing is ended while a callback or a coroutine runs.
 */
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <unistd.h>

#include "aio.h"
#include "internal.h"

#define NS_PER_S UINT64_C(1000000000)

uint64_t aio_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void waits_remove(struct loop_wait **waits, const struct loop_wait *wait)
{
	while (*waits != wait)
		waits = &(*waits)->next;
	*waits = wait->next;
}

const struct timespec *waits_room(const struct loop_wait *waits, struct timespec *room)
{
	uint64_t end = AIO_NEVER, now;

	for (const struct loop_wait *wait = waits; wait; wait = wait->next)
		end = MIN(end, wait->end_ns);
	if (end == AIO_NEVER)
		return NULL;
	now = aio_now_ns();
	end = end > now ? end - now : 0;
	*room = (struct timespec){ end / NS_PER_S, end % NS_PER_S };
	return room;
}

void waits_give_up(struct loop_wait *waits)
{
	uint64_t now = waits ? aio_now_ns() : 0;

	for (struct loop_wait *wait = waits, *next; wait; wait = next) {
		next = wait->next;
		if (wait->end_ns > now)
			continue;
		wait->end_ns = AIO_NEVER;
		wait->given_up = true;
		wait->end(wait);
	}
}

/* ---- files, without a ring ---- */

/* An entry for the bell and one for each file. */
static nfds_t fill_fds(struct pollfd *fds, const struct loop_wait *wait, int bell)
{
	nfds_t nr = 1;

	fds[0] = (struct pollfd){ bell, POLLIN, 0 };
	for (; wait; wait = wait->next)
		if (wait->fd >= 0)
			fds[nr++] = (struct pollfd){ wait->fd, wait->events, 0 };
	return nr;
}

/* Ends the waits whose file is ready. */
static void end_ready(struct loop_wait *waits, const struct pollfd *fds)
{
	for (struct loop_wait *wait = waits, *next; wait; wait = next) {
		next = wait->next;
		if (wait->fd < 0)
			continue;
		wait->found = (fds++)->revents;
		if (wait->found)
			wait->end(wait);
	}
}

static void hush_bell(int bell)
{
	uint64_t rings;

	/* EAGAIN: nobody has rung. */
	while (read(bell, &rings, sizeof(rings)) < 0 && errno == EINTR)
		;
}

void waits_poll(struct loop_wait *waits, int bell, bool block)
{
	g_autofree struct pollfd *fds = NULL;
	struct timespec room;
	unsigned count = 1;
	nfds_t nr;

	if (!block && !waits)
		return;
	for (const struct loop_wait *wait = waits; wait; wait = wait->next)
		count++;
	fds = g_new(struct pollfd, count);
	nr = fill_fds(fds, waits, bell);
	if (ppoll(fds, nr, block ? waits_room(waits, &room) : &(struct timespec){ 0 }, NULL) < 0) {
		if (errno != EINTR && errno != EAGAIN && errno != ENOMEM)
			g_error("poll: %s", g_strerror(errno));
		return;
	}
	if (fds[0].revents)
		hush_bell(bell);
	end_ready(waits, fds + 1);
}
