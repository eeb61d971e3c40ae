// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The loop: operations, a full ring, wakes from other threads, workers. All tests run three times:
 * with the best ring that the kernel supports, and with the rings that older kernels grant, whose
 * refusals __wrap_io_uring_queue_init() simulates. Tests that are not about rings also run on loops
 * without one.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio-test.h"
#include "colock.h"
#include "container_of.h"
#include "error.h"

/* ---- kernels that refuse flags ---- */

static unsigned refused_flags;
static _Atomic unsigned granted_flags;
static int init_error; /* 0, or what all rings fail with */
static unsigned missing_features;
static _Atomic int last_ring_fd;

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	int ret;

	if (init_error)
		return init_error;
	if (flags & refused_flags)
		return -EINVAL;
	granted_flags = flags;
	ret = __real_io_uring_queue_init(entries, ring, flags);
	ring->features &= ~missing_features;
	last_ring_fd = ring->ring_fd;
	return ret;
}

/* ---- kernels without memory ---- */

/* Several threads' loops submit. */
static _Atomic unsigned failing_submits; /* this many more fail */
static _Atomic unsigned nr_submits;	 /* those that succeeded */

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr);
int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);

static bool submit_fails(void)
{
	if (!failing_submits) {
		nr_submits++;
		return false;
	}
	failing_submits--;
	return true;
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
	return submit_fails() ? -EAGAIN : __real_io_uring_submit_and_wait(ring, wait_nr);
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	return submit_fails() ? -EAGAIN : __real_io_uring_submit_and_get_events(ring);
}

static void test_ring_has_best_flags(void)
{
	struct aio_loop *loop = test_loop_new();

	if (!(refused_flags & IORING_SETUP_DEFER_TASKRUN))
		g_assert_cmphex(granted_flags & IORING_SETUP_DEFER_TASKRUN, !=, 0);
	else if (!(refused_flags & IORING_SETUP_COOP_TASKRUN))
		g_assert_cmphex(granted_flags & IORING_SETUP_COOP_TASKRUN, !=, 0);
	aio_loop_free(loop);
}

/* ---- kernels without io_uring ---- */

static void count(void *arg)
{
	++*(unsigned *)arg;
}

/* What depends on io_uring gets an error; everything else works without it. */
static void expect_no_ring(int error)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop;
	unsigned runs = 0;

	g_assert_null(aio_loop_new(64, &err));
	g_assert_error(err, UBD_ERROR, error);
	loop = aio_loop_new_with(AIO_ENGINE_ANY, 64, NULL);
	g_assert_nonnull(loop);
	g_assert_cmpint(aio_loop_make_buffers(loop, 1), ==, -EOPNOTSUPP);
	g_assert_cmpint(aio_loop_make_buffer_group(loop, NULL, 1, 0), ==, -EOPNOTSUPP);
	aio_loop_run_co(loop, count, &runs);
	g_assert_cmpuint(runs, ==, 1);
	aio_loop_free(loop);
}

static void test_refused_ring(void)
{
	static const int errors[] = { EPERM, ENOSYS, ENOMEM };

	for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
		init_error = -errors[i];
		expect_no_ring(errors[i]);
	}
	init_error = 0;
	missing_features = IORING_FEAT_RSRC_TAGS;
	expect_no_ring(ENOSYS);
	missing_features = 0;
}

/* ---- files ---- */

static int open_temp(void)
{
	g_autofree char *path = NULL;
	int fd = g_file_open_tmp("ubd-aio-XXXXXX", &path, NULL);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(g_unlink(path), ==, 0);
	return fd;
}

static void read_what_was_written(void *arg)
{
	int fd = *(int *)arg;
	char head[] = "head", tail[] = "and tail", back[32] = { 0 };
	struct iovec out[] = { { head, 4 }, { tail, 8 } };
	struct iovec in[] = { { back, 5 }, { back + 5, 27 } };

	g_assert_cmpint(co_pwritev(fd, out, 2, 10, 0), ==, 12);
	g_assert_cmpint(co_preadv(fd, in, 2, 8), ==, 14); /* short: the end of the file */
	g_assert_cmpmem(back, 14, "\0\0headand tail", 14);
	g_assert_cmpint(co_preadv(fd, in, 1, 100), ==, 0);
	g_assert_cmpint(co_pwritev(fd, out, 1, 0, RWF_DSYNC), ==, 4);
	g_assert_cmpint(co_preadv(fd, in, 1, 0), ==, 5);
	g_assert_cmpmem(back, 5, "head\0", 5);
	g_assert_cmpint(co_fdatasync(fd), ==, 0);
	g_assert_cmpint(co_sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE), ==, 0);
	g_assert_cmpint(co_sync_file_range(fd, 4096, 4096, SYNC_FILE_RANGE_WRITE), ==, 0);
}

static void punch_hole(void *arg)
{
	int fd = *(int *)arg;
	char data[8192], back[8192];
	struct iovec iov = { data, sizeof(data) };
	struct stat st;

	memset(data, 0x5a, sizeof(data));
	g_assert_cmpint(co_pwritev(fd, &iov, 1, 0, 0), ==, sizeof(data));
	g_assert_cmpint(co_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), ==,
			0);
	iov.iov_base = back;
	g_assert_cmpint(co_preadv(fd, &iov, 1, 0), ==, sizeof(back));
	memset(data, 0, 4096);
	g_assert_cmpmem(data, sizeof(data), back, sizeof(back));
	g_assert_cmpint(co_fallocate(fd, 0, 0, 1 << 20), ==, 0);
	g_assert_cmpint(fstat(fd, &st), ==, 0);
	g_assert_cmpint(st.st_size, ==, 1 << 20);
}

static void fail_on_bad_fd(void *arg)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	g_assert_cmpint(co_preadv(-1, &iov, 1, 0), ==, -EBADF);
	g_assert_cmpint(co_pwritev(-1, &iov, 1, 0, 0), ==, -EBADF);
	g_assert_cmpint(co_fdatasync(-1), ==, -EBADF);
	g_assert_cmpint(co_fallocate(-1, 0, 0, 1), ==, -EBADF);
	g_assert_cmpint(co_sync_file_range(-1, 0, 0, SYNC_FILE_RANGE_WRITE), ==, -EBADF);
	g_assert_cmpint(co_sync_file_range(*(int *)arg, 0, 0, 1 << 30), ==, -EINVAL);
	g_assert_cmpint(co_poll(-1, POLLIN, NULL), ==, -EBADF);
	g_assert_cmpint(co_pwritev(*(int *)arg, &iov, 1, 0, 1 << 30), ==, -EOPNOTSUPP);
}

static void run_on_temp(co_fn *fn)
{
	int fd = open_temp();

	test_run(fn, &fd);
	close(fd);
}

static void test_read_what_was_written(void)
{
	run_on_temp(read_what_was_written);
}

static void test_fallocate(void)
{
	run_on_temp(punch_hole);
}

static void test_errors_are_returned(void)
{
	run_on_temp(fail_on_bad_fd);
}

/* ---- poll and sleep ---- */

static void write_byte(void *arg)
{
	g_assert_cmpint(write(*(int *)arg, "x", 1), ==, 1);
}

static void poll_pipe(void *arg)
{
	int fds[2];

	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	g_assert_cmpint(co_poll(fds[1], POLLOUT, NULL), ==, POLLOUT);
	co_start(write_byte, &fds[1]);
	g_assert_cmpint(co_poll(fds[0], POLLIN | POLLPRI, NULL), ==, POLLIN);
	close(fds[1]);
	g_assert_cmpint(read(fds[0], &(char){ 0 }, 1), ==, 1);
	g_assert_cmpint(co_poll(fds[0], POLLIN, NULL), ==, POLLHUP);
	close(fds[0]);
}

static void test_poll(void)
{
	test_run(poll_pipe, NULL);
}

#define PIPES 3

struct pipes {
	int fds[PIPES][2];
	unsigned order[PIPES];
	unsigned next;
};

struct pipe_end {
	struct pipes *pipes;
	unsigned number;
	struct coroutine *lead;
};

static void poll_one(void *arg)
{
	struct pipe_end *end = arg;

	g_assert_cmpint(co_poll(end->pipes->fds[end->number][0], POLLIN, NULL), ==, POLLIN);
	end->pipes->order[end->pipes->next++] = end->number;
	co_wake(end->lead);
}

/* Each poll gets its own answer, in whatever order they complete. */
static void poll_several(void *arg)
{
	static const unsigned order[PIPES] = { 1, 2, 0 };
	struct pipes pipes = { .next = 0 };
	struct pipe_end ends[PIPES];

	for (unsigned i = 0; i < PIPES; i++) {
		g_assert_cmpint(pipe2(pipes.fds[i], O_CLOEXEC), ==, 0);
		ends[i] = (struct pipe_end){ &pipes, i, co_self() };
		co_start(poll_one, &ends[i]);
	}
	for (unsigned i = 0; i < PIPES; i++) {
		write_byte(&pipes.fds[order[i]][1]);
		co_yield();
	}
	g_assert_cmpmem(pipes.order, sizeof(order), order, sizeof(order));
	for (unsigned i = 0; i < PIPES; i++) {
		close(pipes.fds[i][0]);
		close(pipes.fds[i][1]);
	}
}

static void test_poll_several(void)
{
	test_run(poll_several, NULL);
}

#define MS UINT64_C(1000000)

static void sleep_and_check(void *arg)
{
	uint64_t begin = test_now_ns();

	co_sleep_ns(0);
	co_sleep_ns(20 * MS);
	g_assert_cmpuint(test_now_ns() - begin, >=, 20 * MS);
}

static void test_sleep(void)
{
	test_run(sleep_and_check, NULL);
}

/* ---- quiet operations, gathering, provided buffers ---- */

struct quiet {
	struct aio_op op;
	struct coroutine *waiter;
	unsigned failures;
};

static void quiet_failed(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct quiet *quiet = (struct quiet *)op;

	g_assert_cmpint(res, ==, -EBADF);
	quiet->failures++;
	co_wake(quiet->waiter);
}

/* The same operation, many times in flight: successes are not reported. */
static void be_quiet(void *arg)
{
	struct quiet quiet = { { quiet_failed, .quiet = true }, co_self(), 0 };
	struct io_uring_sqe *sqe;

	for (unsigned i = 0; i < 200; i++) {
		sqe = aio_get_sqe(aio_loop_current());
		io_uring_prep_nop(sqe);
		aio_sqe_set_op(sqe, &quiet.op);
	}
	co_sleep_ns(MS);
	g_assert_cmpuint(quiet.failures, ==, 0);
	sqe = aio_get_sqe(aio_loop_current());
	io_uring_prep_read(sqe, -1, NULL, 0, 0);
	aio_sqe_set_op(sqe, &quiet.op);
	co_yield();
	g_assert_cmpuint(quiet.failures, ==, 1);
}

/* No operation is in flight when the loop ends. */
static void test_quiet_ops_tell_of_failures_only(void)
{
	test_run(be_quiet, NULL);
}

/* ---- what a ring does not do ---- */

struct refused {
	struct aio_op op;
	struct coroutine *co;
	int32_t res;
};

static void refused_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct refused *refused = container_of(op, struct refused, op);

	refused->res = res;
	co_wake(refused->co);
}

static int32_t co_send_sqe(void (*prepare)(struct io_uring_sqe *sqe))
{
	struct refused refused = { .op.done = refused_done, .co = co_self() };
	struct io_uring_sqe *sqe = aio_get_sqe(aio_loop_current());

	prepare(sqe);
	aio_sqe_set_op(sqe, &refused.op);
	co_yield();
	return refused.res;
}

static void prepare_nop_sqe(struct io_uring_sqe *sqe)
{
	io_uring_prep_nop(sqe);
}

static void prepare_openat(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
}

static void prepare_unlinkat(struct io_uring_sqe *sqe)
{
	io_uring_prep_unlinkat(sqe, AT_FDCWD, "/nosuch", 0);
}

static void prepare_splice(struct io_uring_sqe *sqe)
{
	io_uring_prep_splice(sqe, 0, -1, 1, -1, 1, 0);
}

static void prepare_linked_nop(struct io_uring_sqe *sqe)
{
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_LINK;
}

static void send_refused(void *arg)
{
	static void (*const refused[])(struct io_uring_sqe * sqe) = {
		prepare_openat, prepare_unlinkat, prepare_splice, prepare_linked_nop
	};

	g_assert_cmpint(co_send_sqe(prepare_nop_sqe), ==, 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++)
		g_assert_cmpint(co_send_sqe(refused[i]), ==, -EACCES);
	/* Nor can it be given the credentials of this moment. */
	g_assert_cmpint(
		syscall(__NR_io_uring_register, last_ring_fd, IORING_REGISTER_PERSONALITY, NULL, 0),
		==, -1);
	g_assert_cmpint(errno, ==, EACCES);
}

static void prepare_accept(struct io_uring_sqe *sqe)
{
	io_uring_prep_accept(sqe, -1, NULL, NULL, 0);
}

static void prepare_connect(struct io_uring_sqe *sqe)
{
	io_uring_prep_connect(sqe, -1, NULL, 0);
}

static void prepare_sendmsg(struct io_uring_sqe *sqe)
{
	io_uring_prep_sendmsg(sqe, -1, NULL, 0);
}

static void prepare_command(struct io_uring_sqe *sqe)
{
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, -1, NULL, 0, 0);
}

static const struct {
	void (*prepare)(struct io_uring_sqe *sqe);
	unsigned use;
} used[] = {
	{ prepare_nop_sqe, RING_FILES },    { prepare_sendmsg, RING_MESSAGES },
	{ prepare_accept, RING_ACCEPTS },   { prepare_connect, RING_CONNECTS },
	{ prepare_command, RING_COMMANDS },
};

static void use_for(void *arg)
{
	unsigned uses = *(unsigned *)arg;

	for (unsigned i = 0; i < G_N_ELEMENTS(used); i++) {
		long res = co_send_sqe(used[i].prepare);

		if (!(used[i].use & uses))
			g_assert_cmpint(res, ==, -EACCES);
		else
			g_assert_cmpint(res, !=, -EACCES);
	}
}

static void test_ring_is_for_its_uses(void)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(used); i++) {
		unsigned uses = RING_FILES | used[i].use;
		struct aio_loop *loop = aio_loop_new_for(uses, 4, NULL);

		aio_loop_run_co(loop, use_for, &uses);
		aio_loop_free(loop);
	}
}

/* Whoever takes over the program can do no more with its rings than the program does. */
static void test_ring_refuses_what_loops_do_not_use(void)
{
	test_run(send_refused, NULL);
}

#define GATHERED 100

/* One operation serves all coroutines that wait for one. */
struct gatherer {
	struct aio_op op;
	struct coroutine *waiters[GATHERED];
	unsigned nr_waiters, nr_ops, nr_calls;
	unsigned submitted; /* nr_submits when the last operation was prepared */
	unsigned failures;
	struct aio_hook hook;
};

static void gathered_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct gatherer *gatherer = (struct gatherer *)op;

	for (unsigned i = 0; i < gatherer->nr_waiters; i++)
		co_wake(gatherer->waiters[i]);
	gatherer->nr_waiters = 0;
}

static void send_gathered(struct aio_hook *hook)
{
	struct gatherer *gatherer = container_of(hook, struct gatherer, hook);
	struct io_uring_sqe *sqe;

	/* The kernel has what was prepared before. */
	g_assert_true(!gatherer->nr_ops || nr_submits > gatherer->submitted);
	gatherer->nr_calls++;
	gatherer->nr_ops++;
	gatherer->submitted = nr_submits;
	failing_submits = gatherer->failures;
	sqe = aio_get_sqe(aio_loop_current());
	io_uring_prep_nop(sqe);
	aio_sqe_set_op(sqe, &gatherer->op);
}

static void wait_gathered(void *arg)
{
	struct gatherer *gatherer = arg;

	if (!gatherer->nr_waiters)
		aio_at_end_of_turn(&gatherer->hook);
	gatherer->waiters[gatherer->nr_waiters++] = co_self();
	co_yield();
}

static void gather_some(void *arg)
{
	test_co_crew(GATHERED, wait_gathered, arg);
	test_co_crew(GATHERED, wait_gathered, arg);
}

static void gather_and_submit(unsigned failures)
{
	struct aio_loop *loop = test_loop_new();
	struct gatherer gatherer = {
		.op.done = gathered_done,
		.failures = failures,
		.hook.fn = send_gathered,
	};

	aio_loop_run_co(loop, gather_some, &gatherer);
	aio_loop_free(loop);
	g_assert_cmpuint(gatherer.nr_ops, ==, 2);
	g_assert_cmpuint(gatherer.nr_calls, <, 20);
}

static void test_a_turn_gathers_before_it_submits(void)
{
	gather_and_submit(0);
}

static void test_what_was_gathered_is_submitted_without_memory(void)
{
	gather_and_submit(5);
}

#define BUFFERS 2

struct provided {
	struct aio_op op;
	struct io_uring_buf_ring *ring;
	char bytes[BUFFERS][8];
	struct coroutine *waiter;
	int32_t res;
	uint32_t flags;
};

static void provide(struct provided *provided, unsigned index)
{
	io_uring_buf_ring_add(provided->ring, provided->bytes[index], sizeof(provided->bytes[0]),
			      index, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(provided->ring, 1);
}

static void provided_read(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct provided *provided = (struct provided *)op;

	provided->res = res;
	provided->flags = flags;
	co_wake(provided->waiter);
}

static void read_into_group(struct provided *provided, int fd)
{
	struct io_uring_sqe *sqe = aio_get_sqe(aio_loop_current());

	io_uring_prep_read(sqe, fd, NULL, sizeof(provided->bytes[0]), 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	aio_sqe_set_op(sqe, &provided->op);
	provided->waiter = co_self();
	co_yield();
}

static void read_into_buffers(void *arg)
{
	struct provided *provided = arg;
	int fds[2];

	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	for (unsigned i = 0; i < 3 * BUFFERS; i++) {
		unsigned index;

		write_byte(&fds[1]);
		read_into_group(provided, fds[0]);
		g_assert_cmpint(provided->res, ==, 1);
		g_assert_cmphex(provided->flags & IORING_CQE_F_BUFFER, !=, 0);
		index = provided->flags >> IORING_CQE_BUFFER_SHIFT;
		g_assert_cmpuint(index, ==, i % BUFFERS);
		g_assert_cmpint(provided->bytes[index][0], ==, 'x');
		provided->bytes[index][0] = 0;
		/* The last buffers are not given back. */
		if (i < 2 * BUFFERS)
			provide(provided, index);
	}
	write_byte(&fds[1]);
	read_into_group(provided, fds[0]);
	g_assert_cmpint(provided->res, ==, -ENOBUFS);
	close(fds[0]);
	close(fds[1]);
}

static void test_buffers_are_provided(void)
{
	struct aio_loop *loop = test_loop_new();
	struct provided provided = { .op.done = provided_read };

	provided.ring = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	g_assert_true(provided.ring != MAP_FAILED);
	g_assert_cmpint(aio_loop_make_buffer_group(loop, provided.ring, BUFFERS, 7), ==, 0);
	io_uring_buf_ring_init(provided.ring);
	for (unsigned i = 0; i < BUFFERS; i++)
		provide(&provided, i);
	aio_loop_run_co(loop, read_into_buffers, &provided);
	aio_loop_free(loop);
	munmap(provided.ring, sysconf(_SC_PAGESIZE));
}

/* ---- a full ring ---- */

#define OPS 10000

struct polls {
	struct aio_op op[OPS];
	unsigned left;
	int fds[2];
	struct coroutine *waiter;
};

static struct polls polls;

static void poll_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	g_assert_cmpint(res, ==, POLLIN);
	op->done = NULL; /* a second completion would crash */
	if (!--polls.left)
		co_wake(polls.waiter);
}

/* On a ring of 64 entries they fill the SQ often and, as all become ready at once, the CQ. */
static void outnumber_ring(void *arg)
{
	g_assert_cmpint(pipe2(polls.fds, O_CLOEXEC), ==, 0);
	polls.waiter = co_self();
	polls.left = OPS;
	for (unsigned i = 0; i < OPS; i++) {
		struct io_uring_sqe *sqe = aio_get_sqe(aio_loop_current());

		polls.op[i].done = poll_done;
		io_uring_prep_poll_add(sqe, polls.fds[0], POLLIN);
		aio_sqe_set_op(sqe, &polls.op[i]);
	}
	co_sleep_ns(MS);
	g_assert_cmpuint(polls.left, ==, OPS);
	write_byte(&polls.fds[1]);
	co_yield();
	close(polls.fds[0]);
	close(polls.fds[1]);
}

static void test_full_ring_loses_nothing(void)
{
	test_run(outnumber_ring, NULL);
	g_assert_cmpuint(polls.left, ==, 0);
}

#ifdef UBD_TSAN
#define WAITERS 500 /* fibers are slow to create, and limited to 8000 */
#else
#define WAITERS 5000
#endif

static void poll_once(void *arg)
{
	g_assert_cmpint(co_poll(*(int *)arg, POLLIN, NULL), ==, POLLIN);
}

static void outnumber_ring_by_coroutines(void *arg)
{
	int fds[2];

	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	write_byte(&fds[1]);
	test_co_crew(WAITERS, poll_once, &fds[0]);
	close(fds[0]);
	close(fds[1]);
}

static void test_more_coroutines_than_entries(void)
{
	test_run(outnumber_ring_by_coroutines, NULL);
}

/* ---- fairness ---- */

static bool slept;

static void be_ready_for_ever(void *arg)
{
	while (!slept)
		co_reschedule();
}

static void sleep_amid_busy_ones(void *arg)
{
	slept = false;
	co_start(be_ready_for_ever, NULL);
	co_start(be_ready_for_ever, NULL);
	co_sleep_ns(2 * MS);
	slept = true;
	co_reschedule();
	co_reschedule();
}

static void test_busy_coroutines_do_not_shut_out_others(void)
{
	test_run(sleep_amid_busy_ones, NULL);
}

/* ---- life ---- */

static void test_ids_are_reused_lowest_first(void)
{
	struct aio_loop *loops[4];

	for (unsigned i = 0; i < 4; i++) {
		loops[i] = test_loop_new();
		g_assert_cmpuint(aio_loop_id(loops[i]), ==, i);
	}
	aio_loop_free(loops[1]);
	aio_loop_free(loops[2]);
	loops[1] = test_loop_new();
	g_assert_cmpuint(aio_loop_id(loops[1]), ==, 1);
	loops[2] = test_loop_new();
	g_assert_cmpuint(aio_loop_id(loops[2]), ==, 2);
	for (unsigned i = 0; i < 4; i++)
		aio_loop_free(loops[i]);
	aio_loop_free(NULL);
}

static void test_too_many_loops(void)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loops[AIO_MAX_LOOPS];

	for (unsigned i = 0; i < AIO_MAX_LOOPS; i++) {
		loops[i] = aio_loop_new_with(test_engine(), 1, &err);
		g_assert_no_error(err);
	}
	g_assert_null(aio_loop_new_with(test_engine(), 1, &err));
	g_assert_error(err, UBD_ERROR, ENOSPC);
	for (unsigned i = 0; i < AIO_MAX_LOOPS; i++)
		aio_loop_free(loops[i]);
}

static void test_impossible_ring(void)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop;

	g_assert_null(aio_loop_new(0, &err));
	g_assert_error(err, UBD_ERROR, EINVAL);
	/* Its id is free again. */
	loop = test_loop_new();
	g_assert_cmpuint(aio_loop_id(loop), ==, 0);
	aio_loop_free(loop);
}

static void *stop_soon(void *loop)
{
	g_usleep(5000);
	aio_loop_stop(loop);
	return NULL;
}

static void test_stop_from_another_thread(void)
{
	struct aio_loop *loop = test_loop_new();
	GThread *thread = g_thread_new("stopper", stop_soon, loop);

	aio_loop_run(loop);
	g_assert_null(aio_loop_current());
	g_thread_join(thread);
	aio_loop_stop(loop);
	aio_loop_run(loop); /* returns: a stop before the run is not lost */
	aio_loop_free(loop);
}

static void release_late(void *arg)
{
	bool *done = arg;

	co_sleep_ns(1000000);
	*done = true;
	aio_loop_release(aio_loop_current());
}

static void go_on_behind(void *arg)
{
	aio_loop_hold(aio_loop_current());
	co_start(release_late, arg);
}

static void stop_and_go_on(void *arg)
{
	aio_loop_stop(aio_loop_current());
	go_on_behind(arg);
}

/* Whatever ends the run, the holder of the loop goes on first. */
static void test_held_loop_goes_on(void)
{
	struct aio_loop *loop = test_loop_new();
	bool done = false;

	aio_loop_run_co(loop, go_on_behind, &done);
	g_assert_true(done);
	done = false;
	co_start_on(loop, stop_and_go_on, &done);
	aio_loop_run(loop);
	g_assert_true(done);
	aio_loop_free(loop);
}

struct write_op {
	struct aio_op op;
	struct aio_loop *loop;
	int32_t res;
};

static void write_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	((struct write_op *)op)->res = res;
	aio_loop_stop(((struct write_op *)op)->loop);
}

/* The coroutine ends right after preparing an operation, without waiting for it. */
static void write_and_end(void *arg)
{
	struct write_op *write = arg;
	struct io_uring_sqe *sqe = aio_get_sqe(write->loop);

	io_uring_prep_nop(sqe);
	aio_sqe_set_op(sqe, &write->op);
}

static void test_operation_outlives_its_coroutine(void)
{
	struct write_op write = { .op.done = write_done, .loop = test_loop_new(), .res = 1 };

	aio_loop_run_co(write.loop, write_and_end, &write);
	aio_loop_run(write.loop);
	g_assert_cmpint(write.res, ==, 0);
	aio_loop_free(write.loop);
}

struct last_write {
	struct aio_op nop;
	struct aio_op write;
	struct aio_loop *loop;
	int fds[2];
	bool written;
};

static void last_write_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct last_write *last = container_of(op, struct last_write, write);

	last->written = res == 1;
	aio_loop_stop(last->loop);
}

static void write_and_stop(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct last_write *last = (struct last_write *)op;
	struct io_uring_sqe *sqe = aio_get_sqe(last->loop);

	io_uring_prep_write(sqe, last->fds[1], "x", 1, 0);
	aio_sqe_set_op(sqe, &last->write);
	aio_loop_stop(last->loop);
}

static void prepare_nop(void *arg)
{
	struct last_write *last = arg;
	struct io_uring_sqe *sqe = aio_get_sqe(last->loop);

	io_uring_prep_nop(sqe);
	aio_sqe_set_op(sqe, &last->nop);
}

/* A server that stops in the callback that commits its last request must still commit it. */
static void test_last_turn_is_submitted(void)
{
	struct last_write last = {
		.nop.done = write_and_stop,
		.write.done = last_write_done,
		.loop = test_loop_new(),
	};
	struct pollfd poll_in = { .events = POLLIN };

	g_assert_cmpint(pipe2(last.fds, O_CLOEXEC), ==, 0);
	co_start_on(last.loop, prepare_nop, &last);
	aio_loop_run(last.loop);
	poll_in.fd = last.fds[0];
	g_assert_cmpint(poll(&poll_in, 1, 1000), ==, 1);
	/* Its completion is kept for the next run. */
	g_assert_false(last.written);
	aio_loop_run(last.loop);
	g_assert_true(last.written);
	aio_loop_free(last.loop);
	close(last.fds[0]);
	close(last.fds[1]);
}

static void wait_to_be_continued(void *arg)
{
	*(struct coroutine **)arg = co_self();
	co_yield();
	*(struct coroutine **)arg = NULL;
}

static void start_and_leave(void *arg)
{
	co_start(wait_to_be_continued, arg);
	co_reschedule();
}

static void continue_it(void *arg)
{
	co_wake(*(struct coroutine **)arg);
	co_reschedule();
}

static void test_coroutine_stays_between_runs(void)
{
	struct aio_loop *loop = test_loop_new();
	struct coroutine *co = NULL;

	aio_loop_run_co(loop, start_and_leave, &co);
	g_assert_nonnull(co);
	aio_loop_run_co(loop, continue_it, &co);
	g_assert_null(co);
	aio_loop_free(loop);
}

/* ---- wakes from other threads ---- */

#ifdef UBD_TSAN
#define ROUNDS 3000
#else
#define ROUNDS 8000
#endif

/* Two loops wait for each other: each falls asleep after waking the other. */
struct echo {
	struct coroutine *_Atomic caller;
	struct coroutine *_Atomic callee;
	unsigned served;
};

static struct coroutine *take(struct coroutine *_Atomic *slot)
{
	return atomic_exchange(slot, NULL);
}

/* Varies the moment at which the wake hits the callee on its way to sleep. */
static void wait_a_moment(GRand *rand)
{
	for (volatile unsigned n = g_rand_int_range(rand, 0, 400); n; n--)
		;
}

static void echo_caller(void *arg)
{
	struct echo *echo = arg;
	GRand *rand = g_rand_new_with_seed(g_test_rand_int());

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct coroutine *callee;

		while (!(callee = take(&echo->callee)))
			co_reschedule();
		atomic_store(&echo->caller, co_self());
		wait_a_moment(rand);
		co_wake(callee);
		co_yield();
	}
	g_rand_free(rand);
}

static void echo_callee(void *arg)
{
	struct echo *echo = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		atomic_store(&echo->callee, co_self());
		co_yield();
		echo->served++;
		co_wake(take(&echo->caller));
	}
}

static void *echo_thread(void *arg)
{
	test_run(echo_callee, arg);
	return NULL;
}

static void test_no_wake_is_lost(void)
{
	struct echo echo = { .served = 0 };
	GThread *thread = g_thread_new("echo", echo_thread, &echo);

	test_run(echo_caller, &echo);
	g_thread_join(thread);
	g_assert_cmpuint(echo.served, ==, ROUNDS);
}

/* ---- workers ---- */

static int add_one(void *arg)
{
	return ++*(int *)arg;
}

static int check_signals(void *arg)
{
	sigset_t mask;

	g_assert_null(aio_loop_current());
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	return sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
	       sigismember(&mask, SIGCHLD);
}

static void work(void *arg)
{
	int number = 41;

	g_assert_cmpint(co_run_on_worker(add_one, &number), ==, 42);
	g_assert_cmpint(number, ==, 42);
	g_assert_cmpint(co_run_on_worker(check_signals, NULL), ==, 1);
}

static void test_worker(void)
{
	test_run(work, NULL);
}

static int get_thread_id(void *arg)
{
	return gettid();
}

static void ask_for_thread_id(void *ret_tid)
{
	*(int *)ret_tid = co_run_on_worker(get_thread_id, NULL);
}

static void test_workers_end(void)
{
	g_autofree char *task = NULL;
	int tid = 0;

	test_run(ask_for_thread_id, &tid);
	g_assert_cmpint(tid, !=, 0);
	g_assert_cmpint(tid, !=, gettid());
	task = g_strdup_printf("/proc/self/task/%d", tid);
	aio_workers_end();
	/* The worker has left the pool; its last instructions are in the C library. */
	for (unsigned ms = 0; ms < 5000 && g_access(task, F_OK) == 0; ms++)
		g_usleep(1000);
	g_assert_cmpint(g_access(task, F_OK), !=, 0);
	/* The next job gets a new worker. */
	test_run(work, NULL);
}

static unsigned at_work;
static unsigned most_at_work;
static struct thread_lock at_work_guard = THREAD_LOCK_INIT;

static unsigned count_at_work(int change)
{
	unsigned most;

	thread_lock(&at_work_guard);
	at_work += change;
	most_at_work = MAX(most_at_work, at_work);
	most = most_at_work;
	thread_unlock(&at_work_guard);
	return most;
}

/* One per CPU, but at least four. */
static unsigned expected_workers(void)
{
	return MAX(g_get_num_processors(), 4);
}

/* Waits until all workers are here, and then long enough for another to come. */
static int meet_at_work(void *arg)
{
	count_at_work(1);
	for (unsigned ms = 0; ms < 5000 && count_at_work(0) < expected_workers(); ms++)
		g_usleep(1000);
	g_usleep(2000);
	count_at_work(-1);
	return 0;
}

static void work_counted(void *arg)
{
	co_run_on_worker(meet_at_work, NULL);
}

static void many_work(void *arg)
{
	test_co_crew(40, work_counted, NULL);
}

static void test_number_of_workers(void)
{
	most_at_work = 0;
	test_run(many_work, NULL);
	g_assert_cmpuint(most_at_work, ==, expected_workers());
}

/* ---- workers that wait ---- */

#define BLOCKED 100

static _Atomic unsigned blocked;
static _Atomic bool blocked_may_end;

static int block(void *arg)
{
	atomic_fetch_add(&blocked, 1);
	while (!atomic_load(&blocked_may_end))
		g_usleep(1000);
	return 42;
}

static void co_block(void *arg)
{
	g_assert_cmpint(co_block_on_worker(block, NULL), ==, 42);
}

/* Calls that hang take no thread from work, nor does either wait in line behind the other. */
static void work_while_others_block(void *arg)
{
	struct co_group group = { 0 };

	for (unsigned i = 0; i < BLOCKED; i++)
		co_group_start(&group, co_block, NULL);
	while (atomic_load(&blocked) < BLOCKED)
		co_sleep_ns(1000000);
	test_co_crew(40, work, NULL);
	atomic_store(&blocked_may_end, true);
	co_group_wait(&group);
}

static void test_work_while_others_block(void)
{
	atomic_store(&blocked, 0);
	atomic_store(&blocked_may_end, false);
	test_run(work_while_others_block, NULL);
	aio_workers_end();
	/* The next call gets a new thread. */
	test_run(co_block, NULL);
	g_assert_cmpuint(atomic_load(&blocked), ==, BLOCKED + 1);
}

/* The worker's co_wake() may still be finishing when the loop is freed. */
static void test_loop_ends_while_it_is_woken(void)
{
	for (unsigned i = 0; i < ROUNDS / 10; i++)
		test_run(work, NULL);
}

/* ---- */

static const struct {
	const char *name;
	void (*fn)(void);
	bool of_ring; /* only makes sense with a ring */
} tests[] = {
	{ "ring-has-best-flags", test_ring_has_best_flags, true },
	{ "refused-ring", test_refused_ring, true },
	{ "read-what-was-written", test_read_what_was_written, false },
	{ "fallocate", test_fallocate, false },
	{ "errors-are-returned", test_errors_are_returned, false },
	{ "poll", test_poll, false },
	{ "poll-several", test_poll_several, false },
	{ "sleep", test_sleep, false },
	{ "quiet-ops-tell-of-failures-only", test_quiet_ops_tell_of_failures_only, true },
	{ "a-turn-gathers-before-it-submits", test_a_turn_gathers_before_it_submits, true },
	{ "what-was-gathered-is-submitted-without-memory",
	  test_what_was_gathered_is_submitted_without_memory, true },
	{ "buffers-are-provided", test_buffers_are_provided, true },
	{ "ring-refuses-what-loops-do-not-use", test_ring_refuses_what_loops_do_not_use, true },
	{ "ring-is-for-its-uses", test_ring_is_for_its_uses, true },
	{ "full-ring-loses-nothing", test_full_ring_loses_nothing, true },
	{ "more-coroutines-than-entries", test_more_coroutines_than_entries, true },
	{ "busy-ones-do-not-shut-out-others", test_busy_coroutines_do_not_shut_out_others, false },
	{ "ids-are-reused-lowest-first", test_ids_are_reused_lowest_first, false },
	{ "too-many-loops", test_too_many_loops, false },
	{ "impossible-ring", test_impossible_ring, true },
	{ "stop-from-another-thread", test_stop_from_another_thread, false },
	{ "operation-outlives-its-coroutine", test_operation_outlives_its_coroutine, true },
	{ "held-loop-goes-on", test_held_loop_goes_on, false },
	{ "last-turn-is-submitted", test_last_turn_is_submitted, true },
	{ "coroutine-stays-between-runs", test_coroutine_stays_between_runs, false },
	{ "no-wake-is-lost", test_no_wake_is_lost, false },
	{ "worker", test_worker, false },
	{ "workers-end", test_workers_end, false },
	{ "number-of-workers", test_number_of_workers, false },
	{ "work-while-others-block", test_work_while_others_block, false },
	{ "loop-ends-while-it-is-woken", test_loop_ends_while_it_is_woken, false },
};

struct kernel {
	const char *name;
	unsigned refused;
};

static const struct kernel kernels[] = {
	{ "best-ring", 0 },
	{ "no-defer-taskrun", IORING_SETUP_DEFER_TASKRUN },
	{ "plain-ring", IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN },
};

struct test_case {
	void (*fn)(void);
	unsigned refused;
};

static void run_case(gconstpointer data)
{
	const struct test_case *test = data;

	refused_flags = test->refused;
	test->fn();
}

static void add_tests_without_ring(void)
{
	for (unsigned t = 0; t < G_N_ELEMENTS(tests); t++) {
		g_autofree char *path = g_strdup_printf("/loop/threads/%s", tests[t].name);

		if (!tests[t].of_ring)
			g_test_add_func(path, tests[t].fn);
	}
}

int main(int argc, char **argv)
{
	static struct test_case cases[G_N_ELEMENTS(kernels)][G_N_ELEMENTS(tests)];

	g_test_init(&argc, &argv, NULL);
	if (test_engine() == AIO_ENGINE_THREADS) {
		add_tests_without_ring();
		return g_test_run();
	}
	for (unsigned k = 0; k < G_N_ELEMENTS(kernels); k++)
		for (unsigned t = 0; t < G_N_ELEMENTS(tests); t++) {
			g_autofree char *path =
				g_strdup_printf("/loop/%s/%s", kernels[k].name, tests[t].name);

			cases[k][t] = (struct test_case){ tests[t].fn, kernels[k].refused };
			g_test_add_data_func(path, &cases[k][t], run_case);
		}
	return g_test_run();
}
