/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The target through which a disk is served: a block device (device.h), or an export without a
 * driver (export.h). Both have the same life cycle:
 *
 *   co_ask()    Asks the driver for requests, if that requires privileges.
 *   co_fit()    Adapts the target to the disk's image, which is open from then on.
 *   co_start()  Makes the target available to users. Problems are reported and the service manager
 * is notified from then on. After a failure, co_stop() must still be called. co_wait()   Waits
 * until the target must end, and returns the reason. co_stop()   No more requests arrive. co_free()
 * Removes the target.
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
	 * Called while the process still has CAP_SYS_ADMIN, but is already in its sandbox. < 0 with
	 * @err set: the target must be freed. NULL: there is nothing to do.
	 */
	int (*co_ask)(struct target *target, GError **err);
	/* < 0 with @err set: the target cannot serve the image. */
	int (*co_fit)(struct target *target, GError **err);
	int (*co_start)(struct target *target, GError **err);
	/*
	 * Asks the target to end: a start in progress fails, and co_wait() returns. Does not wait;
	 * further calls do nothing.
	 */
	void (*end)(struct target *target);
	/*
	 * Leaves the target to another server, as if that server had asked, if @how refers to this
	 * target. False: the target does not outlive its server. NULL: the same.
	 */
	bool (*leave)(struct target *target, const struct transport_leave *how);
	/*
	 * Fails held requests, now and later, because the target is being stopped, which would wait
	 * for them. NULL: only the server stops this kind of target.
	 */
	void (*fail_held)(struct target *target);
	enum target_end (*co_wait)(struct target *target);
	/* 0 or -errno: it was not stopped properly, but co_free() will stop it. */
	int (*co_stop)(struct target *target);
	void (*co_free)(struct target *target);

	/*
	 * Records that acknowledged data may be lost, for the next server. After co_stop().
	 */
	void (*note_loss)(struct target *target);
	/* The descriptor that a service manager keeps for the next server; -1: none. */
	int (*kept_fd)(const struct target *target);

	/* The name for users: /dev/ubdb0, nbd://host:10809; owned by the target. */
	const char *(*name)(const struct target *target);
	uint64_t (*size)(const struct target *target); /* bytes */
	/* Grows after the image has grown. 0 or -errno. */
	int (*co_grow)(struct target *target);
	/*
	 * Whether all loops that serve it have responded since the last call. Only called for
	 * targets without their own watchdog.
	 */
	bool (*is_alive)(struct target *target);
	/* Queues, or the clients of an export. */
	unsigned (*nr_queues)(const struct target *target);
	/* Adds the statistics of a queue to @sum. */
	void (*queue_stats)(const struct target *target, unsigned q_id, struct serve_stats *sum);
	/* The sums for queues that no longer exist. NULL: queues always exist. */
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
