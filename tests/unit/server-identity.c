// SPDX-License-Identifier: GPL-2.0-or-later
/* The names by which a disk is found again. */
#include <glib.h>
#include <string.h>

#include "identity.h"
#include "uuid.h"

static void test_serial(void)
{
	char longest[IDENTITY_SERIAL_SIZE + 1];

	memset(longest, 'x', sizeof(longest));
	longest[IDENTITY_SERIAL_SIZE] = 0;
	g_assert_false(identity_is_serial(longest));
	longest[IDENTITY_SERIAL_SIZE - 1] = 0;
	g_assert_true(identity_is_serial(longest));
	g_assert_true(identity_is_serial("aZ09+-.:=@_"));
	g_assert_true(identity_is_serial(""));
	g_assert_false(identity_is_serial("a b"));
	g_assert_false(identity_is_serial("a/b"));
	g_assert_false(identity_is_serial("\xc3\xa4"));
}

/* These must never change: names of disks depend on them. */
static void test_derived(void)
{
	struct identity identity, other;
	g_autofree char *uuid = NULL;

	identity_derive("0123456789abcdef0123456789abcdef", "/images/disk.qcow2", NULL, &identity);
	uuid = uuid_to_text(identity.uuid);
	g_assert_cmpstr(uuid, ==, "3a3f9c32-867b-8592-b8c5-b666e3b96e01");
	g_assert_cmpstr(identity.serial, ==, "4a8e2f21ead7851fd877");
	g_assert_true(identity_is_serial(identity.serial));

	identity_derive("0123456789abcdef0123456789abcdee", "/images/disk.qcow2", NULL, &other);
	g_assert_cmpint(memcmp(identity.uuid, other.uuid, 16), !=, 0);
	g_assert_cmpstr(identity.serial, !=, other.serial);
	identity_derive("0123456789abcdef0123456789abcdef", "/images/disk.qcow3", NULL, &other);
	g_assert_cmpint(memcmp(identity.uuid, other.uuid, 16), !=, 0);
	identity_derive("0123456789abcdef0123456789abcdef", "/images/disk.qcow2", "", &other);
	g_assert_cmpint(memcmp(identity.uuid, other.uuid, 16), !=, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/server/identity/serial", test_serial);
	g_test_add_func("/server/identity/derived", test_derived);
	return g_test_run();
}
