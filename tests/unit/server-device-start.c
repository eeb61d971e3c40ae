// SPDX-License-Identifier: GPL-2.0-or-later
/* A device whose driver is not ready: the main loop goes on, and can end the wait. */
#include <errno.h>
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

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/device-start/start-is-ended", test_start_is_ended);
	return leave_scratch(folder, g_test_run());
}
