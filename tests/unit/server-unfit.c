// SPDX-License-Identifier: GPL-2.0-or-later
/* Disks that come as far as their image, and no further: what is closed, and in which order. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "device_parts.h"
#include "image-test.h"
#include "server.h"

static struct transport device;
static unsigned stopped, deleted;
static int server_file = -1; /* what the next server's file is a copy of; -1: another one */

static int get_features(unsigned *ret_features, GError **err)
{
	*ret_features = 0;
	return 0;
}

static struct transport *add(struct transport_info *info, const struct identity *identity,
			     GError **err)
{
	return &device;
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	return &device;
}

static void leave_alone(struct transport *transport)
{
}

static int open_server_file(struct transport *transport, GError **err)
{
	if (server_file >= 0)
		return fcntl(server_file, F_DUPFD_CLOEXEC, 0);
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	*ret_info = (struct transport_info){
		.queues = 1,
		.depth = 8,
		.max_io_bytes = 128 << 10,
		.data = DATA_COPY,
		.recovery = RECOVERY_REISSUE,
		.state = TRANSPORT_RECOVERING,
	};
	return 0;
}

static struct device_params had;

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	*ret_params = had;
	return 0;
}

static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return 0;
}

static int refuse_params(struct transport *transport, const struct device_params *params)
{
	had = *params;
	return -EINVAL;
}

static int stop(struct transport *transport)
{
	stopped++;
	return 0;
}

static int delete (struct transport *transport)
{
	deleted++;
	return 0;
}

static const struct transport_ops driver = {
	.driver = TRANSPORT_UBD,
	.name = "ubd",
	.disk_name = "ubdb",
	.get_features = get_features,
	.add = add,
	.clone = clone_handle,
	.free = leave_alone,
	.get_info = get_info,
	.set_params = refuse_params,
	.get_params = get_params,
	.request_timeout = request_timeout,
	.open_server_file = open_server_file,
	.stop = stop,
	.delete = delete,
};

static int co_enter(void *arg, struct server *server, struct image *file, GError **err)
{
	server_co_get_target(server, NULL, NULL);
	return 0;
}

static const struct options options = {
	.filename = (char *)"disk",
	.format = (char *)"raw",
	.id = TRANSPORT_ANY_ID,
	.queues = 1,
	.depth = 8,
	.recover = TRANSPORT_ANY_ID,
};

static struct server *co_open_server(struct transport *recovered)
{
	static const struct server_common common = { .driver = &driver };
	struct server *server = server_new(&options, &common);
	g_autoptr(GError) err = NULL;

	device = (struct transport){ .ops = &driver, .path = "/dev/ubdb0" };
	g_assert_cmpint(server_co_begin(server, -1, &err), ==, 0);
	server->takeover.transport = recovered;
	g_assert_true(server_co_open(server, co_enter, NULL, &err));
	g_assert_no_error(err);
	return server;
}

static void co_refuse_device(void)
{
	struct server *server = co_open_server(NULL);
	g_autoptr(GError) err = NULL;

	g_assert_false(server_co_fit(server, &err));
	g_assert_nonnull(strstr(err->message, "refused the device's parameters"));
	server_co_free(server);
}

/* The device knows the image no longer when that is closed. */
CO_TEST(test_device_is_refused)
{
	co_create_ok("disk", "raw", 1 << 20, NULL, NULL);
	co_refuse_device();
	g_assert_cmpuint(stopped, ==, 1);
	g_assert_cmpuint(deleted, ==, 1);
}

static bool is_closed(int fd)
{
	struct pollfd end = { .fd = fd };

	return poll(&end, 1, 0) == 1 && end.revents & POLLHUP;
}

/*
 * A device that was to be taken over, but whose queues could not be started, stays. Its image is
 * closed before it has no server any more, or the next one would not recognise the image.
 */
CO_TEST(test_queues_do_not_start)
{
	g_autoptr(GError) err = NULL;
	struct server *server;
	int fds[2];

	/* It notes the parameters that a device of the image has. */
	co_create_ok("disk", "raw", 1 << 20, NULL, NULL);
	co_refuse_device();
	stopped = deleted = 0;
	g_assert_cmpint(pipe(fds), ==, 0);
	/* Nothing of it can be mapped. */
	server_file = fds[1];
	server = co_open_server(&device);
	g_assert_true(server_co_fit(server, &err));
	g_assert_false(server_co_start(server, &err));
	g_assert_nonnull(strstr(err->message, "queue 0"));
	close(fds[1]);
	g_assert_true(server_co_stop(server));
	g_assert_false(is_closed(fds[0]));
	g_assert_true(server_co_end_image(server));
	g_assert_false(is_closed(fds[0]));
	server_co_free(server);
	g_assert_true(is_closed(fds[0]));
	g_assert_cmpuint(stopped, ==, 0);
	g_assert_cmpuint(deleted, ==, 0);
	server_file = -1;
	close(fds[0]);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_setenv("UBD_RUN_DIR", "none/at/all", TRUE);
	g_test_add_func("/unfit/device-is-refused", test_device_is_refused);
	g_test_add_func("/unfit/queues-do-not-start", test_queues_do_not_start);
	return leave_scratch(folder, g_test_run());
}
