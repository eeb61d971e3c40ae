/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How requests are served, whoever brings them: a queue of a device, or a connection to an export.
 * A request waits for its turn if there are limits, and is tried on the disk's top; if it fails for
 * a reason that may pass, it is held (hold.h) and tried again. Results are counted, and the main
 * thread is told of failures.
 *
 * Each queue and each connection has a struct serve. Those that share limits take turns: only the
 * next read and the next write of each are in line, however many requests it has.
 *
 The functions with serve_co_ in their names
 * and serve_begin(), serve_done(), serve_left() and serve_leaves() belong to its thread, all others
 * to any. Nothing that a request calls allocates.
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
	SERVE_FAILS,  /* they get one more try, and fail */
	SERVE_LEAVES, /* they get one more try, and are left to the next server */
};

/* What to do with requests that the limits make wait for their turn. */
enum serve_turns {
	SERVE_WAITS,
	SERVE_HURRIES, /* they start, because all requests must end */
	SERVE_DROPS,   /* they fail, because nobody wants to know */
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

/* What serve_init() was not told yet. Its thread, before the first request. */
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
 * Waits until the limits let a request start that serve_begin() returned @begin_ns for. It should
 * have no memory yet that others want. 0; -ESHUTDOWN: it must not start (SERVE_DROPS).
 */
int serve_co_wait_turn(struct serve *serve, const struct request_desc *desc, uint64_t begin_ns);

/*
 * Calls co_try(arg, image), again and again if the request may be held. The image is the disk's for
 * as long as the call takes.
 */
struct serve_result serve_co_request(struct serve *serve, const struct request_desc *desc,
				     uint64_t begin_ns,
				     int (*co_try)(void *arg, struct image *image), void *arg);

/* Whether a request that has ended like this is left to the next server. */
bool serve_leaves(const struct serve *serve, const struct request_desc *desc,
		  const struct serve_result *result);

/* Counts a request that has come; returns when, for serve_done(). */
uint64_t serve_begin(struct serve *serve, const struct request_desc *desc);
/* Counts a request that is answered with @res. */
void serve_done(struct serve *serve, const struct request_desc *desc, uint64_t begin_ns, int res);
/* Forgets a request that is left to the next server, or dropped. */
void serve_left(struct serve *serve);

/* Changes what is done with requests that could be held. */
void serve_release(struct serve *serve, enum serve_release release);
/* Changes what is done with requests that wait for their turn; those that do notice soon. */
void serve_set_turns(struct serve *serve, enum serve_turns turns);

/* Adds the statistics, but for those of the data's way. */
void serve_add_stats(const struct serve *serve, struct serve_stats *sum);
uint64_t serve_held(const struct serve *serve);
/* How many requests have waited for their turn for some time; the main thread is told of the first.
 */
uint64_t serve_late(const struct serve *serve);

/* Of all operations. */
uint64_t serve_stats_requests(const struct serve_stats *stats);
uint64_t serve_stats_failed(const struct serve_stats *stats);

/* What has happened since the last call. */
struct serve_events serve_poll(struct serve *serve);

#endif
