// SPDX-License-Identifier: GPL-2.0-or-later
/* Which other disks have a name: all are found, in an order that users cannot influence. */
#include <glib.h>
#include <glib/gstdio.h>

#include "others.h"

static char *folder;

static void add(const char *disk, const char *attribute, const char *value)
{
	g_autofree char *path = g_build_filename(folder, disk, attribute, NULL);
	g_autofree char *parent = g_path_get_dirname(path);

	g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
	g_assert_true(g_file_set_contents(path, value, -1, NULL));
}

static char *found(const char *attribute, const char *value)
{
	g_autoptr(GArray) others = others_find(&transport_ubd, attribute, value);
	GString *text = g_string_new(NULL);

	for (unsigned i = 0; i < others->len; i++) {
		const struct other *other = &g_array_index(others, struct other, i);

		g_string_append_printf(text, "%u%s ", other->id, other->unprivileged ? "u" : "");
	}
	return g_string_free(text, FALSE);
}

static void assert_found(const char *attribute, const char *value, const char *wanted)
{
	g_autofree char *text = found(attribute, value);

	g_assert_cmpstr(text, ==, wanted);
}

/* The unprivileged one has a lower number here, and would be first in any order of names. */
static void test_all_are_found(void)
{
	add("ubdb10", "uuid", "one\n");
	add("ubdb10", "device/unprivileged", "0\n");
	add("ubdb9", "uuid", "one\n");
	add("ubdb9", "device/unprivileged", "0\n");
	add("ubdb1", "uuid", "one\n");
	add("ubdb1", "device/unprivileged", "1\n");
	add("ubdb0", "uuid", "other\n");
	add("ubdb3", "serial", "one\n");
	add("sda", "uuid", "one\n");
	assert_found("uuid", "one", "9 10 1u ");
	assert_found("uuid", "other", "0 ");
	assert_found("uuid", "on", "");
	assert_found("serial", "one", "3 ");
}

static void test_there_may_be_none(void)
{
	others_folder = "/nowhere";
	assert_found("uuid", "one", "");
	others_folder = folder;
}

int main(int argc, char **argv)
{
	g_autofree char *remove = NULL;
	int res;

	g_test_init(&argc, &argv, NULL);
	folder = g_dir_make_tmp("ubd-others-XXXXXX", NULL);
	others_folder = folder;
	g_test_add_func("/others/all-are-found", test_all_are_found);
	g_test_add_func("/others/there-may-be-none", test_there_may_be_none);
	res = g_test_run();
	remove = g_strdup_printf("rm -r '%s'", folder);
	g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
	g_free(folder);
	return res;
}
