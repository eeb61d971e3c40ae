// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices that wait for a server of an image: which are found, and which stand in the way. */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "error.h"
#include "others.h"
#include "uuid.h"
#include "waiting.h"

#define UUID  "00112233-4455-6677-8899-aabbccddeeff"
#define OTHER "00112233-4455-6677-8899-aabbccddee00"

/* ---- a driver that the test plays ---- */

static struct played {
	const char *uuid;
	enum transport_state state;
	int server_pid;
	bool unprivileged;
	int open_error; /* -errno; 0: it can be opened */
	bool is_open;
	struct transport transport;
} devices[2];
static unsigned nr;

static struct transport_ops driver;

static struct transport *open_device(uint32_t id, struct transport_info *ret_info, GError **err)
{
	struct played *device = &devices[id];

	g_assert_cmpuint(id, <, nr);
	if (device->open_error) {
		error_refuse(err, device->open_error, "/dev/ubdb%u: not for you", id);
		return NULL;
	}
	g_assert_false(device->is_open);
	device->is_open = true;
	device->transport.ops = &driver;
	g_snprintf(device->transport.path, sizeof(device->transport.path), "/dev/ubdb%u", id);
	*ret_info = (struct transport_info){ .id = id,
					     .state = device->state,
					     .server_pid = device->server_pid };
	return &device->transport;
}

static void close_device(struct transport *transport)
{
	struct played *device =
		(struct played *)((char *)transport - offsetof(struct played, transport));

	g_assert_true(device->is_open);
	device->is_open = false;
}

static int get_identity(struct transport *transport, struct identity *ret_identity)
{
	const struct played *device =
		(const struct played *)((char *)transport - offsetof(struct played, transport));

	*ret_identity = (struct identity){ 0 };
	g_assert_true(uuid_parse(device->uuid, ret_identity->uuid));
	return 0;
}

static GArray *list(GError **err)
{
	GArray *found = g_array_new(FALSE, FALSE, sizeof(struct transport_info));

	for (unsigned i = 0; i < nr; i++) {
		struct transport_info info = { .id = i };

		g_array_append_val(found, info);
	}
	return found;
}

static void write_attribute(unsigned id, const char *name, const char *value)
{
	g_autofree char *path = g_strdup_printf("%s/ubdb%u/%s", others_folder, id, name);
	g_autofree char *folder = g_path_get_dirname(path);

	g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
	g_assert_true(g_file_set_contents(path, value, -1, NULL));
}

/* With what everybody sees of the devices, or without. */
static void begin(const struct played *played, unsigned number, bool shows_names)
{
	driver = (struct transport_ops){
		.disk_name = "ubdb",
		.uuid_bytes = 16,
		.notions = shows_names ? TRANSPORT_NAMES : 0,
		.list = list,
		.open = open_device,
		.free = close_device,
		.get_identity = get_identity,
	};
	nr = number;
	for (unsigned i = 0; i < nr; i++) {
		devices[i] = played[i];
		write_attribute(i, "uuid", played[i].uuid);
		write_attribute(i, "device/unprivileged", played[i].unprivileged ? "1" : "0");
	}
}

/* The number of the device that was found; -1: none; -2: something is in the way, with @reason. */
static int found(const char *uuid_text, const char *reason)
{
	g_autoptr(GError) err = NULL;
	struct transport *transport;
	struct transport_info info = { 0 };
	uint8_t uuid[16] = { 0 };

	g_assert_true(!uuid_text || uuid_parse(uuid_text, uuid));
	if (waiting_open(&driver, uuid, "image", &transport, &info, &err) < 0) {
		if (!reason || !strstr(err->message, reason))
			g_error("%s: not \"%s\"", err->message, reason ?: "");
		for (unsigned i = 0; i < nr; i++)
			g_assert_false(devices[i].is_open);
		return -2;
	}
	g_assert_no_error(err);
	transport_free(transport);
	return transport ? (int)info.id : -1;
}

static void test_found(void)
{
	const struct played both[] = { { UUID, TRANSPORT_LIVE, .server_pid = 7 },
				       { UUID, TRANSPORT_QUIESCED, .server_pid = -1 } };
	const struct played begun[] = { { UUID, TRANSPORT_RECOVERING, .server_pid = -1 },
					{ UUID, TRANSPORT_RECOVERING, .server_pid = 7 } };

	for (int shows_names = 0; shows_names < 2; shows_names++) {
		begin(both, 2, shows_names);
		g_assert_cmpint(found(UUID, NULL), ==, 1);
		g_assert_cmpint(found(OTHER, NULL), ==, -1);
		/* An image without one. */
		g_assert_cmpint(found(NULL, NULL), ==, -1);
		begin(begun, 2, shows_names);
		g_assert_cmpint(found(UUID, NULL), ==, 0);
	}
}

static void test_only_one(void)
{
	const struct played two[] = { { UUID, TRANSPORT_QUIESCED, .server_pid = -1 },
				      { UUID, TRANSPORT_QUIESCED, .server_pid = -1 } };

	begin(two, 2, true);
	g_assert_cmpint(found(UUID, "both /dev/ubdb0 and /dev/ubdb1"), ==, -2);
}

/* Nobody knows whether it waits. */
static void test_cannot_be_opened(void)
{
	struct played closed[] = { { UUID, TRANSPORT_QUIESCED, .open_error = -EACCES },
				   { UUID, TRANSPORT_QUIESCED, .server_pid = -1 } };

	begin(closed, 2, true);
	g_assert_cmpint(found(UUID, "/dev/ubdb0 has its UUID and may wait"), ==, -2);
	closed[1].open_error = -EACCES;
	closed[0].open_error = 0;
	closed[0].server_pid = -1;
	begin(closed, 2, true);
	g_assert_cmpint(found(UUID, "/dev/ubdb1 has its UUID and may wait"), ==, -2);
	g_assert_cmpint(found(OTHER, NULL), ==, -1);
}

static void test_closed_ones_that_do_not_wait(void)
{
	/* It ended meanwhile; and one of somebody who wants to be in the way. */
	const struct played closed[] = { { UUID, .open_error = -ENODEV },
					 { UUID, .open_error = -EACCES, .unprivileged = true } };

	begin(closed, 2, true);
	g_assert_cmpint(found(UUID, NULL), ==, -1);
	/* Nothing is known of it. */
	begin(&closed[1], 1, false);
	g_assert_cmpint(found(UUID, NULL), ==, -1);
}

int main(int argc, char **argv)
{
	g_autofree char *folder = g_dir_make_tmp("ubd-waiting-XXXXXX", NULL), *remove = NULL;
	int res;

	g_test_init(&argc, &argv, NULL);
	others_folder = folder;
	g_test_add_func("/waiting/found", test_found);
	g_test_add_func("/waiting/only-one", test_only_one);
	g_test_add_func("/waiting/cannot-be-opened", test_cannot_be_opened);
	g_test_add_func("/waiting/closed-ones-that-do-not-wait", test_closed_ones_that_do_not_wait);
	res = g_test_run();
	remove = g_strdup_printf("rm -r '%s'", folder);
	g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
	return res;
}
