/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serves requests from a queue of a device or a connection to an export. If there are limits, a
 * request waits for its turn. It is then tried on the disk's top; if it fails for
 * a reason that may be temporary, it is held (hold.h) and retried. Results are counted, and
 * failures are reported to the main thread.
 *
 * Each queue and each connection has a struct serve. Those that share limits take turns: only the
 * next read and the next write of each are in line, however many requests it has.
 *
 * Only its thread may call the functions with serve_co_ in their names, serve_begin(),
 * serve_done(), serve_left() and serve_leaves(); any thread may call the others. Functions called
 * for a request never allocate memory.
 */
#ifndef UBD_SERVE_H
#define UBD_SERVE_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "colock.h"
#include "counters.h"
#include "failures.h"
#include "hold.h"
#include "image.h"
#include "request_desc.h"

struct disk;
struct throttle_group;

struct serve_config {
	struct disk *disk;
	const struct hold_policy *hold;
	const struct request_limits *limits; /* which may change */
	int event_fd;			     /* an eventfd to signal news for serve_poll() */
	struct throttle_group *throttle;     /* NULL: requests never wait for one */
};

/* What to do with requests that could be held. */
enum serve_release {
	SERVE_HOLDS,
	SERVE_FAILS,  /* try them once more, then fail them */
	SERVE_LEAVES, /* try them once more, then leave them to the next server */
};

/* What to do with requests that wait for their turn because of limits. */
enum serve_turns {
	SERVE_WAITS,
	SERVE_HURRIES, /* start them, because all requests must end */
	SERVE_DROPS,   /* fail them, because their client is gone */
};

struct serve_stats {
	struct op_stats ops[REQUEST_OPS];
	uint64_t held, in_flight; /* currently */
	/* Of a queue: reads and writes whose data was not copied, and the others. */
	uint64_t zero_copy, copied;
};

struct serve_events {
	/* By operation: the requests that have failed since the last call ... */
	struct failure failed[REQUEST_OPS];
	/* ... and the failure of the request that was held last. */
	struct failure held;
};

/* Private to serve.c. */
struct serve {
	struct serve_config config;
	struct counters *counters;
	_Atomic uint64_t held;		       /* only its thread writes it */
	_Atomic uint64_t late;		       /* likewise; serve_late() */
	_Atomic int release;		       /* enum serve_release */
	_Atomic int turns;		       /* enum serve_turns */
	struct co_mutex next_read, next_write; /* to wait for a turn */
	struct thread_lock lock;
	struct serve_events events GUARDED_BY(lock);
};

/* The caller keeps what @config points to until serve_destroy(). */
void serve_init(struct serve *serve, const struct serve_config *config);
void serve_destroy(struct serve *serve);

/* Replaces the configuration given to serve_init(). Its thread, before the first request. */
void serve_set_config(struct serve *serve, const struct serve_config *config);

/* The flags of the image's requests (IMAGE_REQ_*) that the request asks for. */
unsigned serve_request_flags(const struct request_desc *desc);

/* Serves a request without data: flush, discard, write zeroes. 0 or -errno. */
int serve_co_dataless(struct image *image, const struct request_desc *desc);

/* How a request ended. */
struct serve_result {
	int res;	   /* 0 or more: what the try returned; or -errno */
	unsigned troubles; /* the image's (enum image_trouble), if it failed */
};

/*
 * Waits until the disk has its image: a driver may hand out requests before a server that takes a
 * device over has opened it. False: the server gives up before that (serve_release()), and the
 * request must not start.
 */
bool serve_co_wait_image(const struct serve *serve);

/*
 * Waits until the limits let a request start; @begin_ns is from serve_begin(). The request should
 * not hold scarce memory yet. 0; -ESHUTDOWN: it must not start (SERVE_DROPS).
 */
int serve_co_wait_turn(struct serve *serve, const struct request_desc *desc, uint64_t begin_ns);

/*
 * Calls co_try(arg, image), repeatedly if the request may be held. The image is the disk's
 * throughout each call.
 */
struct serve_result serve_co_request(struct serve *serve, const struct request_desc *desc,
				     uint64_t begin_ns,
				     int (*co_try)(void *arg, struct image *image), void *arg);

/* Whether a request that has ended like this is left to the next server. */
bool serve_leaves(const struct serve *serve, const struct request_desc *desc,
		  const struct serve_result *result);

/* Counts a request that has arrived; returns the time, for serve_done(). */
uint64_t serve_begin(struct serve *serve, const struct request_desc *desc);
/* Counts a request that is answered with @res. */
void serve_done(struct serve *serve, const struct request_desc *desc, uint64_t begin_ns, int res);
/* No longer counts a request, which is left to the next server or dropped. */
void serve_left(struct serve *serve);

/* Changes what to do with requests that could be held. */
void serve_release(struct serve *serve, enum serve_release release);
/* Changes what to do with requests that wait for their turn; waiting ones notice soon. */
void serve_set_turns(struct serve *serve, enum serve_turns turns);

/* Adds the statistics, except zero_copy and copied. */
void serve_add_stats(const struct serve *serve, struct serve_stats *sum);
uint64_t serve_held(const struct serve *serve);
/*
 * How many requests have waited for their turn for some time; the main thread is notified of the
 * first.
 */
uint64_t serve_late(const struct serve *serve);

/* Of all operations. */
uint64_t serve_stats_requests(const struct serve_stats *stats);
uint64_t serve_stats_failed(const struct serve_stats *stats);

/* What has happened since the last call. */
struct serve_events serve_poll(struct serve *serve);

#endif
