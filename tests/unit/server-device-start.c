// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device whose driver is not ready: the main loop goes on, and can end the wait. And one whose
 * server's file is closed while queues may use its number.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "device_parts.h"
#include "image-test.h"
#include "watch.h"

static unsigned asked;

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	return -EOPNOTSUPP;
}

static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return 0;
}

/* The kernel shows the thread that connects an nbd device as its server, also when it has ended. */
static int open_queue(struct transport *transport, uint16_t q_id, GError **err)
{
	g_assert_cmpint(gettid(), ==, getpid());
	asked++;
	return -EAGAIN;
}

static const struct transport_ops driver = {
	.get_params = get_params,
	.request_timeout = request_timeout,
	.open_queue = open_queue,
};

/* As when a signal comes. */
static void end_co(void *arg)
{
	while (asked < 3)
		co_sleep_ns(1000 * 1000);
	device_end(arg);
}

CO_TEST(test_start_is_ended)
{
	struct transport transport = { .ops = &driver, .path = "/dev/nbd0" };
	struct queue *queues[2] = { NULL };
	int queue_fds[] = { -1, -1 };
	struct device device = {
		.transport = &transport,
		.info.queues = 2,
		.queue_fds = queue_fds,
		.queues = queues,
		.char_fd = -1,
		.event_fd = -1,
	};
	struct co_group group = { 0 };
	g_autoptr(GError) err = NULL;

	co_group_start(&group, end_co, &device);
	g_assert_cmpint(device_co_start_queues(&device, &err), <, 0);
	g_assert_cmpstr(err->message, ==, "/dev/nbd0: cannot start: ended by a signal");
	g_assert_cmpint(queue_fds[0], ==, -1);
	co_group_wait(&group);
	watch_free(device.watch);
}

static void test_closed_number_is_kept(void)
{
	int fds[2], other;
	struct device device = { .no_fd = open("/", O_PATH | O_CLOEXEC) };
	struct pollfd end = { .events = POLLIN };
	char byte;

	g_assert_cmpint(pipe(fds), ==, 0);
	end.fd = fds[0];
	device.char_fd = fds[1];
	device_close_char(&device);
	/* The file is closed, and the number is no other file's. */
	g_assert_cmpint(poll(&end, 1, 0), ==, 1);
	g_assert_true(end.revents & POLLHUP);
	other = open("/dev/null", O_RDWR | O_CLOEXEC);
	g_assert_cmpint(other, !=, fds[1]);
	g_assert_cmpint(write(fds[1], "", 1), <, 0);
	g_assert_cmpint(errno, ==, EBADF);
	g_assert_cmpint(pread(fds[1], &byte, 1, 0), <, 0);
	g_assert_cmpint(errno, ==, EBADF);
	/* A second time does nothing. */
	device_close_char(&device);
	g_assert_cmpint(fcntl(fds[1], F_GETFL) & O_PATH, !=, 0);
	close(other);
	close(fds[0]);
	close(fds[1]);
	close(device.no_fd);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/device-start/start-is-ended", test_start_is_ended);
	g_test_add_func("/device-start/closed-number-is-kept", test_closed_number_is_kept);
	return leave_scratch(folder, g_test_run());
}
