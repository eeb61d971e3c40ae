// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A walk over a disk, piece by piece; see pieces.h. Workers, on one loop or several, take the
 * pieces from a cursor.
 */
#include "pieces.h"

#include <errno.h>
#include <stdatomic.h>

#include "aio.h"
#include "align.h"
#include "colock.h"
#include "error.h"
#include "iobuf.h"

#define WORKERS		 8
#define MAX_BUFFERS	 2
#define ZERO_PIECE_BYTES (256ull << 20)
#define NS_PER_SECOND	 1000000000ull

struct state {
	const struct piece_walk *walk;
	void *buffers; /* walk->buffers for each worker */
	_Atomic unsigned started;
	_Atomic unsigned workers;
	struct coroutine *waiter;

	struct co_mutex cursor_lock;
	GError **err; /* cursor_lock */
	int error;    /* cursor_lock: the first one */
	uint64_t cursor;
	struct piece extent; /* what is known from the cursor on; the cursor is its start */
	uint64_t next_ns;    /* with a rate limit: when the next piece may begin */
};

static void report(const struct state *state, uint64_t bytes) REQUIRES(state->cursor_lock)
{
	if (state->walk->progress)
		state->walk->progress(state->walk->progress_arg, bytes);
}

/* Takes over @reason. */
static void fail(struct state *state, int ret, GError *reason) REQUIRES(state->cursor_lock)
{
	if (state->error) {
		g_clear_error(&reason);
		return;
	}
	state->error = ret;
	if (reason)
		g_propagate_error(state->err, reason);
}

/* ---- the pieces ---- */

static int co_look(struct state *state) REQUIRES(state->cursor_lock)
{
	const struct piece_walk *walk = state->walk;
	GError *reason = NULL;
	int ret;

	state->extent = (struct piece){ .off = state->cursor, .bytes = walk->size - state->cursor };
	ret = walk->co_look(walk->arg, &state->extent, &reason);
	if (ret)
		fail(state, ret, reason);
	return ret;
}

static uint64_t piece_bytes(const struct state *state) REQUIRES(state->cursor_lock)
{
	uint64_t max = state->extent.kind == PIECE_DATA ? state->walk->max_bytes : ZERO_PIECE_BYTES;

	return MIN(state->extent.bytes, bytes_to_boundary(state->extent.off, max));
}

static void advance(struct state *state, uint64_t bytes) REQUIRES(state->cursor_lock)
{
	state->cursor += bytes;
	state->extent.off += bytes;
	state->extent.bytes -= bytes;
}

/* Finds something to do; false at the end, and after a failure. */
static bool co_find(struct state *state) REQUIRES(state->cursor_lock)
{
	while (!state->error && state->cursor < state->walk->size) {
		if (!state->extent.bytes && co_look(state))
			return false;
		if (state->extent.kind != PIECE_SKIP)
			return true;
		report(state, state->extent.bytes);
		advance(state, state->extent.bytes);
	}
	return false;
}

/* Waits until the rate allows another piece, whose bytes then count. */
static void co_keep_rate(struct state *state, uint64_t bytes) REQUIRES(state->cursor_lock)
{
	uint64_t rate = state->walk->bytes_per_second, now = g_get_monotonic_time() * 1000;

	if (!rate)
		return;
	if (state->next_ns > now)
		co_sleep_ns(state->next_ns - now);
	state->next_ns = MAX(state->next_ns, now) + (double)bytes / rate * NS_PER_SECOND;
}

static bool co_next_piece(struct state *state, struct piece *ret_piece)
{
	bool found;

	co_mutex_lock(&state->cursor_lock);
	found = co_find(state);
	if (found) {
		*ret_piece = state->extent;
		ret_piece->bytes = piece_bytes(state);
		advance(state, ret_piece->bytes);
		co_keep_rate(state, ret_piece->bytes);
	}
	found = found && !state->error;
	co_mutex_unlock(&state->cursor_lock);
	return found;
}

/* ---- workers ---- */

static void co_handle(struct state *state, const struct piece *piece, void *const *buffers)
{
	GError *reason = NULL;
	int ret = state->walk->co_handle(state->walk->arg, piece, buffers, &reason);

	co_mutex_lock(&state->cursor_lock);
	if (ret)
		fail(state, ret, reason);
	else
		report(state, piece->bytes);
	co_mutex_unlock(&state->cursor_lock);
}

static void worker_co(void *arg)
{
	struct state *state = arg;
	unsigned nr = state->walk->buffers, number = atomic_fetch_add(&state->started, 1);
	void *buffers[MAX_BUFFERS] = { NULL };
	struct piece piece;

	for (unsigned i = 0; i < nr; i++)
		buffers[i] =
			iobuf_array_at(state->buffers, number * nr + i, state->walk->max_bytes);
	while (co_next_piece(state, &piece))
		co_handle(state, &piece, buffers);
	if (atomic_fetch_sub(&state->workers, 1) == 1)
		co_wake(state->waiter);
}

static void start_worker(struct state *state, unsigned number)
{
	const struct piece_walk *walk = state->walk;

	if (walk->nr_loops)
		co_start_on(walk->loops[number % walk->nr_loops], worker_co, state);
	else
		co_start(worker_co, state);
}

int pieces_co_walk(const struct piece_walk *walk, GError **err)
{
	struct state state = {
		.walk = walk,
		.buffers = try_iobuf_alloc_array(WORKERS * walk->buffers, walk->max_bytes),
		.err = err,
		.workers = WORKERS,
		.waiter = co_self(),
	};

	g_assert(walk->buffers <= MAX_BUFFERS);
	if (!state.buffers)
		return error_refuse(err, -ENOMEM, "no memory for buffers");
	co_mutex_init(&state.cursor_lock);
	for (unsigned i = 0; i < WORKERS; i++)
		start_worker(&state, i);
	co_yield();
	co_mutex_destroy(&state.cursor_lock);
	iobuf_free(state.buffers);
	return state.error;
}
