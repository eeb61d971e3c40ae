// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The loop: one io_uring, the coroutines that are ready, and the door through which other threads
 * hand in coroutines. Or no io_uring: then the loop sleeps in poll(2), and ops_threads.c does what
 * the kernel would be asked for.
 *
 * A turn: run what is ready, enter the kernel once (submit everything that was prepared, wait if
 * nothing is ready), take in what came through the door, call back for what the kernel has
 * completed. Just before the loop enters the kernel, its owner may prepare one operation for
 * everything that it has gathered in the turn.
 *
 * 1. Everything on a loop happens on its thread, except aio_loop_post(), aio_loop_stop() and
 *    aio_loop_id().
 * 2. The thread that first runs the loop enables the ring, which makes that thread the
 *    only one that may submit (IORING_SETUP_SINGLE_ISSUER). From then on, the ring does only what
 *    ring_limits.c lists for its uses.
 */
#include "aio.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "colock.h"
#include "container_of.h"
#include "error.h"
#include "internal.h"
#include "ring_limits.h"
#include "sanitizers.h"

/*
 * How many coroutines run at most between two looks at the ring, so that coroutines which keep each
 * other ready cannot shut out those that wait for I/O.
 */
#define LOOP_RUN_MAX 256

/*
 * The part of a loop that other threads touch. A door outlives its loop: a thread that has posted a
 * coroutine may look at @asleep and ring the bell after the coroutine has run and the loop was
 * freed. At worst that disturbs the next loop behind the same door, with a turn that finds nothing
 * to do. For the same reason the eventfd, once made, is never closed.
 */
struct loop_door {
	/* A stack, newest first. */
	_Alignas(64) struct coroutine *_Atomic inbox;
	/* The loop's thread is in the kernel, or about to be, and needs the bell. */
	_Atomic bool asleep;
	int bell;   /* an eventfd; 0 until the door is first used */
	bool taken; /* guarded by doors_guard */
};

static struct loop_door doors[AIO_MAX_LOOPS];
static struct thread_lock doors_guard = THREAD_LOCK_INIT;

struct aio_loop {
	bool has_ring;
	struct io_uring ring;
	struct loop_wait *waits; /* waits that may have to give up */
	struct loop_door *door;
	struct coroutine *ready;
	struct coroutine **ready_end;
	struct aio_op bell_op;
	struct aio_hook *hooks; /* for the end of this turn */
	uint64_t turn_ns;	/* 0: nobody has asked in this turn */
	unsigned ops;	/* SQEs handed out whose last CQE has not arrived; without quiet ones */
	bool abandoned; /* aio_loop_abandon() */
	unsigned coroutines; /* begun and not ended */
	unsigned holds;	     /* calls of aio_loop_hold() without their release */
	pthread_t thread;    /* the first to run it, once... */
	bool owned;	     /* ... this is set */
	_Atomic bool stop;
};

__thread struct aio_loop *aio_this_loop;
__thread unsigned aio_this_loop_id;

/* ---- doors ---- */

static struct loop_door *door_take(GError **err)
{
	struct loop_door *door = NULL;

	thread_lock(&doors_guard);
	for (unsigned i = 0; i < AIO_MAX_LOOPS && !door; i++)
		if (!doors[i].taken)
			door = &doors[i];
	if (!door) {
		g_set_error(err, UBD_ERROR, ENOSPC, "there are %d event loops already, the most",
			    AIO_MAX_LOOPS);
	} else if (!door->bell && (door->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
		error_set(err, -errno, "cannot make an eventfd");
		door->bell = 0;
		door = NULL;
	} else {
		door->taken = true;
	}
	thread_unlock(&doors_guard);
	return door;
}

static void door_leave(struct loop_door *door)
{
	thread_lock(&doors_guard);
	door->taken = false;
	thread_unlock(&doors_guard);
}

/*
 * The order in which no wake-up is lost: the ringer stores (inbox or stop) and then loads asleep;
 * the loop stores asleep and then loads inbox and stop. All four are seq_cst, so in their total
 * order at least one of the two sees the other's store.
 */
static void door_ring(struct loop_door *door)
{
	static const uint64_t one = 1;

	if (!atomic_load_explicit(&door->asleep, memory_order_seq_cst))
		return;
	/*
	 * Relaxed: it only picks one of several ringers; the eventfd orders nothing that we need.
	 */
	if (!atomic_exchange_explicit(&door->asleep, false, memory_order_relaxed))
		return;
	/* EAGAIN: the counter is full, so it is readable. */
	while (write(door->bell, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void aio_loop_post(struct aio_loop *loop, struct coroutine *co)
{
	struct loop_door *door = loop->door;
	struct coroutine *first = atomic_load_explicit(&door->inbox, memory_order_relaxed);

	/*
	 * seq_cst for door_ring(); its release part hands over what the caller wrote, to the
	 * acquire in take_inbox(). Relaxed on failure: @first is not dereferenced.
	 */
	do {
		co->next = first;
	} while (!atomic_compare_exchange_weak_explicit(
		&door->inbox, &first, co, memory_order_seq_cst, memory_order_relaxed));
	door_ring(door);
}

static void take_inbox(struct aio_loop *loop)
{
	struct coroutine *newest, *oldest = NULL;

	/*
	 * Relaxed: a look before the costly exchange; what arrives later is seen before sleeping.
	 */
	if (!atomic_load_explicit(&loop->door->inbox, memory_order_relaxed))
		return;
	newest = atomic_exchange_explicit(&loop->door->inbox, NULL, memory_order_acquire);
	while (newest) {
		struct coroutine *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct coroutine *next = oldest->next;

		aio_loop_ready(loop, oldest);
		oldest = next;
	}
}

/*
 * Whether the loop must return: @done is set or, if that is NULL, the loop was told to stop; and
 * nobody holds it.
 */
static bool is_over(struct aio_loop *loop, const bool *done)
{
	/*
	 * Acquire: what was done before aio_loop_stop() is seen after aio_loop_run(). The rest of
	 * seq_cst is for door_ring().
	 */
	return !loop->holds &&
	       (done ? *done : atomic_load_explicit(&loop->stop, memory_order_seq_cst));
}

/* Asks to be woken by the bell; false if there is something to do instead. */
static bool fall_asleep(struct aio_loop *loop, const bool *done)
{
	struct loop_door *door = loop->door;

	/* See door_ring(). */
	atomic_store_explicit(&door->asleep, true, memory_order_seq_cst);
	if (!atomic_load_explicit(&door->inbox, memory_order_seq_cst) && !is_over(loop, done))
		return true;
	atomic_store_explicit(&door->asleep, false, memory_order_relaxed);
	return false;
}

static void arm_bell(struct aio_loop *loop)
{
	struct io_uring_sqe *sqe = aio_get_sqe(loop);

	/*
	 * Multishot: one CQE for every ring, without rearming. The eventfd is not read: a read
	 * still armed in a dying ring would steal the ring of the next loop behind this door. Its
	 * counter cannot overflow in a lifetime.
	 */
	io_uring_prep_poll_multishot(sqe, loop->door->bell, POLLIN);
	aio_sqe_set_op(sqe, &loop->bell_op);
}

static void bell_rang(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct aio_loop *loop = container_of(op, struct aio_loop, bell_op);

	/* The kernel ends a multishot poll with -ECANCELED if it finds no room for its CQE. */
	assert(res >= 0 || res == -ECANCELED);
	if (!(flags & IORING_CQE_F_MORE))
		arm_bell(loop);
}

/* ---- life ---- */

static int ring_init(struct io_uring *ring, unsigned uses, unsigned entries)
{
	/*
	 * Best first. DEFER_TASKRUN (6.1): completions run when the loop asks for them, not in the
	 * middle of its work; it needs SINGLE_ISSUER, and the ring disabled until the thread that
	 * will run the loop is known. TASKRUN_FLAG lets a turn that does not wait see without a
	 * system call that there are completions. SUBMIT_ALL: one bad SQE does not hold back those
	 * behind it.
	 */
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
			IORING_SETUP_R_DISABLED,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
			IORING_SETUP_R_DISABLED,
		IORING_SETUP_R_DISABLED,
	};
	int ret = -EINVAL;

	for (unsigned i = 0; i < G_N_ELEMENTS(flags) && ret == -EINVAL; i++)
		ret = io_uring_queue_init(entries, ring, flags[i]);
	tsan_after_map(doors);
	if (ret)
		return ret;
	/* Multishot poll, which the bell needs, came with this in Linux 5.13. */
	ret = ring->features & IORING_FEAT_RSRC_TAGS ? ring_limit(ring, uses) : -ENOSYS;
	if (ret)
		io_uring_queue_exit(ring);
	return ret;
}

void aio_set_ring_error(int res, GError **err)
{
	bool refused = res == -ENOSYS || res == -EPERM;

	g_set_error(err, UBD_ERROR, -res, "cannot make an io_uring: %s%s", g_strerror(-res),
		    refused ? "; if a container's seccomp profile or kernel.io_uring_disabled"
			      " refuses it, see \"Users and containers\" in ubd-serve(8)"
			    : "");
}

static struct aio_loop *loop_new(enum aio_engine engine, unsigned uses, unsigned entries,
				 GError **err)
{
	struct loop_door *door = door_take(err);
	struct aio_loop *loop;
	int ret = 0;

	if (!door)
		return NULL;
	loop = g_new0(struct aio_loop, 1);
	loop->door = door;
	loop->ready_end = &loop->ready;
	loop->bell_op.done = bell_rang;
	if (engine != AIO_ENGINE_THREADS)
		ret = ring_init(&loop->ring, uses, entries);
	loop->has_ring = engine != AIO_ENGINE_THREADS && !ret;
	/* Whatever the reason is (seccomp, sysctl, no memory to lock), the other way may work. */
	if (ret && engine != AIO_ENGINE_ANY) {
		aio_set_ring_error(ret, err);
		door_leave(door);
		g_free(loop);
		return NULL;
	}
	return loop;
}

struct aio_loop *aio_loop_new(unsigned entries, GError **err)
{
	return loop_new(AIO_ENGINE_URING, RING_ALL, entries, err);
}

struct aio_loop *aio_loop_new_for(unsigned uses, unsigned entries, GError **err)
{
	return loop_new(AIO_ENGINE_URING, uses, entries, err);
}

struct aio_loop *aio_loop_new_with(enum aio_engine engine, unsigned entries, GError **err)
{
	return loop_new(engine, RING_ALL, entries, err);
}

void aio_loop_abandon(struct aio_loop *loop)
{
	loop->abandoned = true;
}

void aio_loop_free(struct aio_loop *loop)
{
	if (!loop)
		return;
	assert(loop != aio_this_loop);
	assert(!loop->coroutines && !loop->ready);
	/* Only the bell is armed, and it dies with the ring. */
	assert(loop->abandoned || loop->ops == (loop->has_ring && loop->owned));
	assert(!loop->waits);
	/* Relaxed: a post that is not ordered before this call is the caller's mistake anyway. */
	assert(!atomic_load_explicit(&loop->door->inbox, memory_order_relaxed));
	if (loop->has_ring) {
		tsan_before_unmap(doors);
		io_uring_queue_exit(&loop->ring);
	}
	door_leave(loop->door);
	g_free(loop);
}

struct aio_loop *aio_loop_current(void)
{
	return aio_this_loop;
}

bool aio_loop_has_ring(const struct aio_loop *loop)
{
	return loop->has_ring;
}

struct loop_wait **aio_loop_waits(struct aio_loop *loop)
{
	return &loop->waits;
}

unsigned aio_loop_id(const struct aio_loop *loop)
{
	return loop->door - doors;
}

/* ---- the ring ---- */

/* Errors that pass: a signal, no memory for requests, a full completion queue. */
static void check_enter(int ret)
{
	if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
		g_error("io_uring_enter: %s", g_strerror(-ret));
}

/* Completions wait in the kernel, and only come out when asked for. */
static bool ring_holds_back(const struct io_uring *ring)
{
	return IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Only until the first of the waits is over. */
static int submit_and_wait(struct aio_loop *loop)
{
	struct timespec room;
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	int ret;

	if (!waits_room(loop->waits, &room))
		return io_uring_submit_and_wait(&loop->ring, 1);
	ts = (struct __kernel_timespec){ room.tv_sec, room.tv_nsec };
	ret = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, &ts, NULL);
	return ret == -ETIME ? 0 : ret;
}

static void run_hooks(struct aio_loop *loop)
{
	struct aio_hook *hook = loop->hooks;

	loop->hooks = NULL;
	while (hook) {
		struct aio_hook *next = hook->next;

		hook->fn(hook);
		hook = next;
	}
}

uint64_t aio_turn_ns(void)
{
	struct aio_loop *loop = aio_this_loop;

	if (!loop->turn_ns)
		loop->turn_ns = aio_now_ns();
	return loop->turn_ns;
}

void aio_at_end_of_turn(struct aio_hook *hook)
{
	hook->next = aio_this_loop->hooks;
	aio_this_loop->hooks = hook;
}

static void enter(struct aio_loop *loop, bool wait)
{
	struct io_uring *ring = &loop->ring;
	bool begins_all = loop->hooks;

	run_hooks(loop);
	if (!loop->has_ring)
		waits_poll(loop->waits, loop->door->bell, wait);
	else if (wait)
		check_enter(submit_and_wait(loop));
	else if (io_uring_sq_ready(ring) || ring_holds_back(ring))
		check_enter(io_uring_submit_and_get_events(ring));
	/* Without memory for more requests the kernel leaves some where they are. */
	while (begins_all && loop->has_ring && io_uring_sq_ready(ring))
		check_enter(io_uring_submit_and_get_events(ring));
	loop->turn_ns = 0;
}

static void complete(struct aio_loop *loop, const struct io_uring_cqe *cqe)
{
	struct aio_op *op = io_uring_cqe_get_data(cqe);
	int32_t res = cqe->res;
	uint32_t flags = cqe->flags;

	/* Give the slot back first: done() may submit, and the kernel may need the slot. */
	io_uring_cq_advance(&loop->ring, 1);
	assert(op);
	if (!(flags & IORING_CQE_F_MORE) && !op->quiet)
		loop->ops--;
	op->done(op, res, flags);
}

static void reap(struct aio_loop *loop)
{
	struct io_uring *ring = &loop->ring;
	unsigned budget = ring->cq.ring_entries;
	struct io_uring_cqe *cqe;
	unsigned head;

	io_uring_for_each_cqe(ring, head, cqe) {
		if (!budget--)
			break;
		complete(loop, cqe);
	}
}

struct io_uring_sqe *aio_get_sqe(struct aio_loop *loop)
{
	struct io_uring_sqe *sqe;

	assert(loop == aio_this_loop && loop->has_ring);
	while (!(sqe = io_uring_get_sqe(&loop->ring)))
		check_enter(io_uring_submit_and_get_events(&loop->ring));
	loop->ops++;
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

void aio_sqe_set_op(struct io_uring_sqe *sqe, struct aio_op *op)
{
	io_uring_sqe_set_data(sqe, op);
	if (!op->quiet)
		return;
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	aio_this_loop->ops--;
}

int aio_loop_make_buffers(struct aio_loop *loop, unsigned entries)
{
	assert(!loop->owned);
	if (!loop->has_ring)
		return -EOPNOTSUPP;
	return io_uring_register_buffers_sparse(&loop->ring, entries);
}

int aio_loop_set_buffer(struct aio_loop *loop, unsigned index, void *base, size_t bytes)
{
	const struct iovec iov = { base, bytes };
	int ret;

	assert(loop == aio_this_loop);
	ret = io_uring_register_buffers_update_tag(&loop->ring, index, &iov, NULL, 1);
	return MIN(ret, 0);
}

int aio_loop_make_buffer_group(struct aio_loop *loop, struct io_uring_buf_ring *ring,
			       unsigned entries, uint16_t group)
{
	struct io_uring_buf_reg reg = {
		.ring_addr = (uintptr_t)ring,
		.ring_entries = entries,
		.bgid = group,
	};

	assert(!loop->owned || loop == aio_this_loop);
	if (!loop->has_ring)
		return -EOPNOTSUPP;
	return io_uring_register_buf_ring(&loop->ring, &reg, 0);
}

void aio_loop_drop_buffer_group(struct aio_loop *loop, uint16_t group)
{
	assert(loop == aio_this_loop);
	io_uring_unregister_buf_ring(&loop->ring, group);
}

/* ---- running ---- */

void aio_loop_ready(struct aio_loop *loop, struct coroutine *co)
{
	co->next = NULL;
	*loop->ready_end = co;
	loop->ready_end = &co->next;
}

void aio_loop_resume(struct aio_loop *loop, struct coroutine *co)
{
	/* Relaxed: nobody wakes a coroutine that is new or ready. */
	if (atomic_load_explicit(&co->state, memory_order_relaxed) == CO_NEW)
		loop->coroutines++;
	if (coroutine_resume(co))
		loop->coroutines--;
}

static void run_ready(struct aio_loop *loop)
{
	for (unsigned i = 0; i < LOOP_RUN_MAX && loop->ready; i++) {
		struct coroutine *co = loop->ready;

		loop->ready = co->next;
		if (!loop->ready)
			loop->ready_end = &loop->ready;
		aio_loop_resume(loop, co);
	}
}

static void turn(struct aio_loop *loop, const bool *done)
{
	bool wait;

	run_ready(loop);
	wait = !loop->ready && fall_asleep(loop, done);
	enter(loop, wait);
	/* Relaxed: a ringer that still sees it set rings once more than necessary. */
	if (wait)
		atomic_store_explicit(&loop->door->asleep, false, memory_order_relaxed);
	take_inbox(loop);
	if (loop->has_ring)
		reap(loop);
	/* Last, so that what is complete does not give up. */
	waits_give_up(loop->waits);
}

/* Makes the ring this thread's. */
static void enable_ring(struct aio_loop *loop)
{
	int res = ring_enable(&loop->ring);

	if (res < 0)
		g_error("cannot enable an io_uring: %s", g_strerror(-res));
	arm_bell(loop);
}

static void loop_enter(struct aio_loop *loop)
{
	assert(!aio_this_loop);
	aio_this_loop = loop;
	aio_this_loop_id = aio_loop_id(loop);
	if (loop->owned) {
		assert(pthread_equal(loop->thread, pthread_self()));
		return;
	}
	loop->thread = pthread_self();
	loop->owned = true;
	if (loop->has_ring)
		enable_ring(loop);
}

/* Takes turns until @done is set, or until the loop is stopped. */
static void run_until(struct aio_loop *loop, const bool *done)
{
	do
		turn(loop, done);
	while (!is_over(loop, done));
	/* Callbacks of the last turn may have prepared operations. */
	enter(loop, false);
	aio_this_loop = NULL;
}

void aio_loop_run(struct aio_loop *loop)
{
	loop_enter(loop);
	run_until(loop, NULL);
	/* Relaxed: only a later run looks at it again. */
	atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
}

void aio_loop_stop(struct aio_loop *loop)
{
	struct loop_door *door = loop->door;

	/* The loop may be gone after this; see door_ring(). */
	atomic_store_explicit(&loop->stop, true, memory_order_seq_cst);
	door_ring(door);
}

void aio_loop_hold(struct aio_loop *loop)
{
	assert(loop == aio_this_loop);
	loop->holds++;
}

void aio_loop_release(struct aio_loop *loop)
{
	assert(loop == aio_this_loop && loop->holds);
	loop->holds--;
}

struct run_co {
	co_fn *fn;
	void *arg;
	bool done;
};

static void run_co(void *arg)
{
	struct run_co *run = arg;

	run->fn(run->arg);
	run->done = true;
}

void aio_loop_run_co(struct aio_loop *loop, co_fn *fn, void *arg)
{
	struct run_co run = { .fn = fn, .arg = arg };

	loop_enter(loop);
	aio_loop_ready(loop, coroutine_new(loop, run_co, &run));
	run_until(loop, &run.done);
}
