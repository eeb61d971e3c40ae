// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations of coroutines on a loop without a ring: a system call on the worker pool each. What
 * waits for a file or for a time takes no thread: the loop itself waits for it, in poll(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "aio.h"
#include "internal.h"

#define NS_PER_S UINT64_C(1000000000)
#define NO_END	 UINT64_MAX

struct call {
	int fd;
	const struct iovec *iov;
	unsigned niov;
	int flags; /* RWF_*, or the mode of fallocate */
	uint64_t off;
	uint64_t bytes;
};

static int preadv_call(void *arg)
{
	const struct call *call = arg;
	ssize_t ret = preadv(call->fd, call->iov, call->niov, call->off);

	return ret < 0 ? -errno : ret;
}

static int pwritev_call(void *arg)
{
	const struct call *call = arg;
	ssize_t ret = pwritev2(call->fd, call->iov, call->niov, call->off, call->flags);

	return ret < 0 ? -errno : ret;
}

static int fdatasync_call(void *arg)
{
	const struct call *call = arg;

	return fdatasync(call->fd) < 0 ? -errno : 0;
}

static int fallocate_call(void *arg)
{
	const struct call *call = arg;

	return fallocate(call->fd, call->flags, call->off, call->bytes) < 0 ? -errno : 0;
}

ssize_t threads_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	struct call call = { .fd = fd, .iov = iov, .niov = niov, .off = off };

	return co_block_on_worker(preadv_call, &call);
}

ssize_t threads_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			   int rw_flags)
{
	struct call call = {
		.fd = fd,
		.iov = iov,
		.niov = niov,
		.off = off,
		.flags = rw_flags,
	};

	return co_block_on_worker(pwritev_call, &call);
}

int threads_co_fdatasync(int fd)
{
	struct call call = { .fd = fd };

	return co_block_on_worker(fdatasync_call, &call);
}

int threads_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	struct call call = { .fd = fd, .flags = mode, .off = off, .bytes = bytes };

	return co_block_on_worker(fallocate_call, &call);
}

/* ---- poll and sleep ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int co_wait(int fd, short events, uint64_t end_ns)
{
	struct loop_wait **waits = aio_loop_waits(aio_loop_current());
	struct loop_wait wait = {
		.fd = fd,
		.events = events,
		.end_ns = end_ns,
		.co = co_self(),
		.next = *waits,
	};

	*waits = &wait;
	co_yield();
	return wait.res;
}

void threads_co_sleep_ns(uint64_t ns)
{
	uint64_t now = now_ns();

	co_wait(-1, 0, now + MIN(ns, NO_END - 1 - now));
}

int threads_co_poll(int fd, short events)
{
	return fd < 0 ? -EBADF : co_wait(fd, events, NO_END);
}

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

/* Until the first wait is over; NULL: for ever. */
static const struct timespec *first_end(const struct loop_wait *wait, struct timespec *room)
{
	uint64_t end = NO_END, now;

	for (; wait; wait = wait->next)
		end = MIN(end, wait->end_ns);
	if (end == NO_END)
		return NULL;
	now = now_ns();
	end = end > now ? end - now : 0;
	*room = (struct timespec){ end / NS_PER_S, end % NS_PER_S };
	return room;
}

/* Takes those out of the list that are over, and wakes their coroutines. */
static void end_waits(struct loop_wait **place, const struct pollfd *fds)
{
	uint64_t now = now_ns();

	for (struct loop_wait *wait; (wait = *place);) {
		short events = wait->fd >= 0 ? (fds++)->revents : 0;

		if (!events && wait->end_ns > now) {
			place = &wait->next;
			continue;
		}
		wait->res = events & POLLNVAL ? -EBADF : events;
		*place = wait->next;
		co_wake(wait->co);
	}
}

static void hush_bell(int bell)
{
	uint64_t rings;

	/* EAGAIN: nobody has rung. */
	while (read(bell, &rings, sizeof(rings)) < 0 && errno == EINTR)
		;
}

void threads_enter(struct loop_wait **waits, int bell, bool block)
{
	g_autofree struct pollfd *fds = NULL;
	struct timespec room;
	unsigned count = 1;
	nfds_t nr;

	if (!block && !*waits)
		return;
	for (const struct loop_wait *wait = *waits; wait; wait = wait->next)
		count++;
	fds = g_new(struct pollfd, count);
	nr = fill_fds(fds, *waits, bell);
	if (ppoll(fds, nr, block ? first_end(*waits, &room) : &(struct timespec){ 0 }, NULL) < 0) {
		if (errno != EINTR && errno != EAGAIN && errno != ENOMEM)
			g_error("poll: %s", g_strerror(errno));
		return;
	}
	if (fds[0].revents)
		hush_bell(bell);
	end_waits(waits, fds + 1);
}
