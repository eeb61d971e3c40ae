// SPDX-License-Identifier: GPL-2.0-or-later
/* Disks that come as far as their image, and no further. */
#include <errno.h>
#include <fcntl.h>

#include "device_parts.h"
#include "image-test.h"
#include "server.h"

static struct transport device;
static unsigned stopped, deleted;

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
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int refuse_params(struct transport *transport, const struct device_params *params)
{
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
	.set_params = refuse_params,
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

static struct server *co_open_server(void)
{
	static const struct server_common common = { .driver = &driver };
	struct server *server = server_new(&options, &common);
	g_autoptr(GError) err = NULL;

	device = (struct transport){ .ops = &driver, .path = "/dev/ubdb0" };
	g_assert_cmpint(server_co_begin(server, -1, &err), ==, 0);
	g_assert_true(server_co_open(server, co_enter, NULL, &err));
	g_assert_no_error(err);
	return server;
}

/* The device knows the image no longer when that is closed. */
CO_TEST(test_device_is_refused)
{
	g_autoptr(GError) err = NULL;
	struct server *server;

	co_create_ok("disk", "raw", 1 << 20, NULL, NULL);
	server = co_open_server();
	g_assert_false(server_co_fit(server, &err));
	g_assert_nonnull(strstr(err->message, "refused the device's parameters"));
	server_co_free(server);
	g_assert_cmpuint(stopped, ==, 1);
	g_assert_cmpuint(deleted, ==, 1);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_setenv("UBD_RUN_DIR", "none/at/all", TRUE);
	g_test_add_func("/unfit/device-is-refused", test_device_is_refused);
	return leave_scratch(folder, g_test_run());
}
