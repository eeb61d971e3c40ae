// SPDX-License-Identifier: GPL-2.0-or-later
/* Serial number and UUID: valid values, who sees them, and when they can be set. */
#include "lib.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char uuid_text[] = "00112233-4455-6677-8899-aabbccddeeff\n";

static struct ubd_identity usual_identity(void)
{
	struct ubd_identity identity = { .serial = "A-z_0.9:x=y@z+1" };

	for (int i = 0; i < 16; i++)
		identity.uuid[i] = i * 0x11;
	return identity;
}

static int set_identity(int fd, const struct ubd_identity *identity)
{
	struct ubd_identity copy = *identity;

	return control(fd, UBD_CMD_SET_IDENTITY, &copy, sizeof(copy));
}

static const char *attribute(uint32_t id, const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/%s", id, name);
	return path;
}

static void check_attribute(uint32_t id, const char *name, const char *wanted)
{
	int fd = open(attribute(id, name), O_RDONLY);
	char text[128] = "";

	CHECK(fd >= 0);
	CHECK(read(fd, text, sizeof(text) - 1) >= 0);
	if (strcmp(text, wanted))
		fail("%s is %s not %s", name, text, wanted);
	close(fd);
}

/* ---- */

static void what_is_set_is_in_sysfs(void)
{
	struct ubd_identity identity = usual_identity(), found;
	struct server server;

	server_init(&server);
	server_add(&server);
	CHECK_EQ(set_identity(server.control, &identity), 0);
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	check_attribute(server.info.dev_id, "serial", "A-z_0.9:x=y@z+1\n");
	check_attribute(server.info.dev_id, "uuid", uuid_text);
	CHECK_EQ(control(server.control, UBD_CMD_GET_IDENTITY, &found, sizeof(found)), 0);
	CHECK(!memcmp(&found, &identity, sizeof(found)));
	/* Once started, a device keeps its identity. */
	identity.serial[0] = 'B';
	CHECK_EQ(set_identity(server.control, &identity), -EBUSY);
	check_attribute(server.info.dev_id, "serial", "A-z_0.9:x=y@z+1\n");
	server_delete(&server);
}

static void what_is_not_set_is_not_there(void)
{
	struct ubd_identity identity = usual_identity(), found;
	static const struct ubd_identity none;
	struct server server;

	server_init(&server);
	server_run(&server);
	CHECK(!exists(attribute(server.info.dev_id, "serial")));
	CHECK(!exists(attribute(server.info.dev_id, "uuid")));
	CHECK_EQ(control(server.control, UBD_CMD_GET_IDENTITY, &found, sizeof(found)), 0);
	CHECK(!memcmp(&found, &none, sizeof(found)));
	server_delete(&server);

	/* Each alone. */
	server_init(&server);
	server_add(&server);
	memset(identity.uuid, 0, sizeof(identity.uuid));
	CHECK_EQ(set_identity(server.control, &identity), 0);
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	CHECK(exists(attribute(server.info.dev_id, "serial")));
	CHECK(!exists(attribute(server.info.dev_id, "uuid")));
	server_delete(&server);
}

static void what_cannot_be_is_refused(void)
{
	static const char wrong[] = "/ \n\t*%$\"'\\\x7f\x80\xe4";
	struct ubd_identity identity = usual_identity(), found, bad;
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	CHECK_EQ(set_identity(fd, &identity), 0);
	for (const char *c = wrong; *c; c++) {
		bad = usual_identity();
		bad.serial[3] = *c;
		CHECK_EQ(set_identity(fd, &bad), -EINVAL);
	}
	/* No terminator; something after it; a reserved field. */
	bad = usual_identity();
	memset(bad.serial, 'x', UBD_SERIAL_SIZE);
	CHECK_EQ(set_identity(fd, &bad), -EINVAL);
	bad = usual_identity();
	bad.serial[UBD_SERIAL_SIZE - 1] = 'x';
	CHECK_EQ(set_identity(fd, &bad), -EINVAL);
	bad = usual_identity();
	bad.reserved[3] = 1;
	CHECK_EQ(set_identity(fd, &bad), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_SET_IDENTITY, &bad, sizeof(bad) - 8), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_SET_IDENTITY, NULL, sizeof(bad)), -EFAULT);
	CHECK_EQ(control(fd, UBD_CMD_GET_IDENTITY, &bad, sizeof(bad) + 8), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_GET_IDENTITY, &found, sizeof(found)), 0);
	CHECK(!memcmp(&found, &identity, sizeof(found)));

	memset(identity.serial, 'x', UBD_SERIAL_SIZE - 1);
	CHECK_EQ(set_identity(fd, &identity), 0);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "what is set is in sysfs", what_is_set_is_in_sysfs },
		{ "what is not set is not there", what_is_not_set_is_not_there },
		{ "what cannot be is refused", what_cannot_be_is_refused },
	};

	return RUN_TESTS(tests, argc, argv);
}
