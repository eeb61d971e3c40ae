// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Control commands when io_uring_enter() fails: each gets its own answer, and none runs after it
 * was reported as failed. /dev/null, which accepts any command, stands in for the driver.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>

#include "command_ring.h"
#include "control.h"

#define DEV_ID 7

/* The next call of each kind fails once with this error; 0: it does not. */
static _Atomic int submit_error, wait_error;
static unsigned last_op;
static _Atomic unsigned commands;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit,
			      unsigned wait_nr, sigset_t *sigmask);
int __wrap___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit,
			      unsigned wait_nr, sigset_t *sigmask);

/* The driver's part: fills the caller's buffer. */
static void play_driver(const struct io_uring_sqe *sqe)
{
	const struct ubdsrv_ctrl_cmd *cmd = (const void *)sqe->cmd;
	struct ubdsrv_ctrl_dev_info *info = (void *)(uintptr_t)cmd->addr;

	last_op = sqe->cmd_op;
	commands++;
	if (last_op == UBD_CMD_GET_DEV_INFO)
		*info = (struct ubdsrv_ctrl_dev_info){ .dev_id = DEV_ID, .nr_hw_queues = 1 };
}

/* Takes the answer out of the ring; it is put back after the wait for it has failed. */
static void delay_answer(struct io_uring *ring)
{
	while (!io_uring_cq_ready(ring))
		;
	io_uring_cq_advance(ring, 1);
}

static void put_answer_back(struct io_uring *ring)
{
	__atomic_sub_fetch(ring->cq.khead, 1, __ATOMIC_RELEASE);
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	int error = submit_error, ret;

	submit_error = 0;
	if (error)
		return error;
	g_assert_cmpuint(io_uring_sq_ready(ring), ==, 1);
	play_driver(&ring->sq.sqes[(ring->sq.sqe_tail - 1) & (ring->sq.ring_entries - 1)]);
	ret = __real_io_uring_submit(ring);
	if (wait_error)
		delay_answer(ring);
	return ret;
}

int __wrap___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit,
			      unsigned wait_nr, sigset_t *sigmask)
{
	int error = wait_error;

	wait_error = 0;
	if (!error)
		return __real___io_uring_get_cqe(ring, cqe, submit, wait_nr, sigmask);
	put_answer_back(ring);
	return error;
}

static struct control *adopt(void)
{
	struct ubdsrv_ctrl_dev_info info;
	g_autoptr(GError) err = NULL;
	struct control *control = control_adopt(open("/dev/null", O_RDWR | O_CLOEXEC), &info, &err);

	g_assert_no_error(err);
	g_assert_cmpuint(info.dev_id, ==, DEV_ID);
	return control;
}

/* The next command is the one sent, and gets its own answer. */
static void expect_sound(struct control *control)
{
	struct ubdsrv_ctrl_dev_info info = { 0 };
	unsigned before = commands;

	g_assert_cmpint(control_get_info(control, &info), ==, 0);
	g_assert_cmpuint(info.dev_id, ==, DEV_ID);
	g_assert_cmpuint(commands, ==, before + 1);
	g_assert_cmpuint(last_op, ==, UBD_CMD_GET_DEV_INFO);
}

/* More often than the ring has entries. */
static void test_refused_command_never_runs(void)
{
	struct control *control = adopt();
	unsigned before = commands;

	for (int i = 0; i < 10; i++) {
		submit_error = i % 2 ? -EAGAIN : -ENOMEM;
		g_assert_cmpint(control_stop_dev(control), ==, i % 2 ? -EAGAIN : -ENOMEM);
	}
	g_assert_cmpuint(commands, ==, before);
	expect_sound(control);
	expect_sound(control);
	control_free(control);
}

static void test_interrupted_command_is_sent(void)
{
	struct control *control = adopt();

	submit_error = -EINTR;
	expect_sound(control);
	control_free(control);
}

static void test_failed_wait_is_no_answer(void)
{
	static const int errors[] = { -EINTR, -EAGAIN, -EBUSY, -ENOMEM };
	struct control *control = adopt();

	for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
		wait_error = errors[i];
		expect_sound(control);
		g_assert_cmpint(wait_error, ==, 0);
	}
	control_free(control);
}

/* ---- a ring of several threads ---- */

#define THREADS	 4
#define COMMANDS 500

static struct command_ring ring_of_all;

/* Each has a file that gives an answer of its own. */
static void *send_commands(void *arg)
{
	const char *name = arg;
	int fd = open(name, O_RDWR | O_CLOEXEC), expected = 0;

	if (strcmp(name, "/dev/null") != 0)
		expected = fd < 0 ? -EBADF : -EOPNOTSUPP;
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct ubdsrv_ctrl_cmd cmd = { 0 };

		g_assert_cmpint(
			command_ring_run(&ring_of_all, fd, 0, &cmd, sizeof(cmd), COMMAND_NO_LIMIT),
			==, expected);
	}
	return NULL;
}

static void test_threads_share_a_ring(void)
{
	static char *const names[THREADS] = { "/dev/null", "/dev/zero/none", "/dev/null",
					      "/proc/self/comm" };
	GThread *threads[THREADS];

	g_assert_cmpint(command_ring_init(&ring_of_all, 0), ==, 0);
	for (unsigned i = 0; i < THREADS; i++)
		threads[i] = g_thread_new("commands", send_commands, names[i]);
	for (unsigned i = 0; i < THREADS; i++)
		g_thread_join(threads[i]);
	command_ring_exit(&ring_of_all);
}

/* ---- and nothing else ---- */

static void test_ring_does_nothing_else(void)
{
	struct command_ring cr;
	struct io_uring_cqe *cqe;

	g_assert_cmpint(command_ring_init(&cr, 0), ==, 0);
	io_uring_prep_nop(io_uring_get_sqe(&cr.ring));
	g_assert_cmpint(__real_io_uring_submit(&cr.ring), >=, 0);
	g_assert_cmpint(io_uring_wait_cqe(&cr.ring, &cqe), ==, 0);
	g_assert_cmpint(cqe->res, ==, -EACCES);
	command_ring_exit(&cr);
}

/* On older kernels it accepts none. */
static bool null_takes_commands(void)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	bool takes;

	g_assert_cmpint(io_uring_queue_init(1, &ring, 0), ==, 0);
	io_uring_prep_rw(IORING_OP_URING_CMD, io_uring_get_sqe(&ring),
			 open("/dev/null", O_RDWR | O_CLOEXEC), NULL, 0, 0);
	g_assert_cmpint(__real_io_uring_submit(&ring), ==, 1);
	g_assert_cmpint(io_uring_wait_cqe(&ring, &cqe), ==, 0);
	takes = !cqe->res;
	io_uring_queue_exit(&ring);
	return takes;
}

static void skip(void)
{
	g_test_skip("/dev/null takes no commands here");
}

int main(int argc, char **argv)
{
	bool works = null_takes_commands();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/refused-command-never-runs",
			works ? test_refused_command_never_runs : skip);
	g_test_add_func("/control/interrupted-command-is-sent",
			works ? test_interrupted_command_is_sent : skip);
	g_test_add_func("/control/failed-wait-is-no-answer",
			works ? test_failed_wait_is_no_answer : skip);
	g_test_add_func("/control/threads-share-a-ring", works ? test_threads_share_a_ring : skip);
	g_test_add_func("/control/ring-does-nothing-else", test_ring_does_nothing_else);
	return g_test_run();
}
