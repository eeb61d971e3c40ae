/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As what a disk is served: a block device (device.h), or an export without a driver (export.h).
 * The life of both is the same:
 *
 *   co_ask()    The driver is asked for requests, if that takes privileges.
 *   co_fit()    The disk has its image, which it did not have before.
 *   co_start()  Its users find it. Problems are reported from then on, and the service manager is
 *               told that the server is alive. co_stop() must be called after a failure, too.
 *   co_wait()   Waits until it must end, and says why.
 *   co_stop()   No more requests come.
 *   co_free()   It is gone.
 *
 * The image is closed between the last two. Main loop only; functions that may wait are coroutines.
 */
#ifndef UBD_TARGET_H
#define UBD_TARGET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "failures.h"
#include "serve.h"
#include "transport.h"

struct target;

/* Why co_wait() has returned. */
enum target_end {
	TARGET_END_ASKED,   /* by end() */
	TARGET_END_STOPPED, /* another process stopped the device */
	TARGET_END_LEFT,    /* another server is to serve the device */
	TARGET_END_UNUSED,  /* the last client has gone */
	TARGET_END_BROKEN,  /* a request is lost, and was reported */
};

struct target_ops {
	/*
	 * While the process still has CAP_SYS_ADMIN, but is in its sandbox already. < 0 with @err
	 * set: it must be freed. NULL: there is nothing to do.
	 */
	int (*co_ask)(struct target *target, GError **err);
	/* < 0 with @err set: it cannot serve the image. */
	int (*co_fit)(struct target *target, GError **err);
	int (*co_start)(struct target *target, GError **err);
	/*
	 * Asks it to end: a start under way fails, and co_wait() returns. It does not wait; a
	 * second time does nothing.
	 */
	void (*end)(struct target *target);
	/*
	 * Asks it to be left to another server, as if that had asked, if it is meant. False: it
	 * does not outlive its server. NULL: the same.
	 */
	bool (*leave)(struct target *target, const struct transport_leave *how);
	/*
	 * Lets requests that are held fail, now and later: somebody stops it, and would wait for
	 * them. NULL: nobody can.
	 */
	void (*fail_held)(struct target *target);
	enum target_end (*co_wait)(struct target *target);
	/* 0 or -errno: it was not stopped properly, but co_free() will stop it. */
	int (*co_stop)(struct target *target);
	void (*co_free)(struct target *target);

	/*
	 * Notes that acknowledged data may be lost, which its next server must know. After
	 * co_stop().
	 */
	void (*note_loss)(struct target *target);
	/* The descriptor that a service manager keeps for the next server; -1: none. */
	int (*kept_fd)(const struct target *target);

	/* By which its users find it: /dev/ubdb0, nbd://host:10809; owned by the target. */
	const char *(*name)(const struct target *target);
	uint64_t (*size)(const struct target *target); /* bytes */
	/* Grows after the image has grown. 0 or -errno. */
	int (*co_grow)(struct target *target);
	/*
	 * Whether all loops that serve it have responded since the last call. If this is asked, the
	 * target was made without a watchdog of its own.
	 */
	bool (*is_alive)(struct target *target);
	/* What brings requests, and their statistics. */
	unsigned (*nr_queues)(const struct target *target);
	/* Adds its statistics. */
	void (*queue_stats)(const struct target *target, unsigned q_id, struct serve_stats *sum);
	/* The sums of those that are there no more. NULL: they stay. */
	const struct serve_stats *(*departed_stats)(const struct target *target);
	/* The last request that failed; count 0: none. *ret_time is in seconds since 1970. */
	struct failure (*last_failure)(const struct target *target, gint64 *ret_time);
};

/* Embed it. */
struct target {
	const struct target_ops *ops;
};

static inline const char *target_name(const struct target *target)
{
	return target->ops->name(target);
}

#endif
