// SPDX-License-Identifier: GPL-2.0-or-later
/* Libraries that are loaded when they are needed. */
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "late_library.h"

static struct {
	__typeof__(zlibVersion) *version;
	__typeof__(crc32) *crc32;
} z;

static const struct late_function functions[] = {
	{ "zlibVersion", &z.version },
	{ "crc32", &z.crc32 },
	{},
};

static void test_functions(void)
{
	static struct late_library library = LATE_LIBRARY_INIT("libz.so.1", functions);

	for (unsigned i = 0; i < 2; i++) {
		g_autoptr(GError) err = NULL;

		g_assert_cmpint(late_library_load(&library, &err), ==, 0);
		g_assert_no_error(err);
		g_assert_cmpint(z.version()[0], ==, ZLIB_VERSION[0]);
		g_assert_cmpuint(z.crc32(0, (const unsigned char *)"123456789", 9), ==, 0xcbf43926);
	}
}

/* The same reason each time. */
static void check_fails(struct late_library *library, const char *reason)
{
	for (unsigned i = 0; i < 2; i++) {
		g_autoptr(GError) err = NULL;

		g_assert_cmpint(late_library_load(library, &err), ==, -ELIBACC);
		g_assert_nonnull(strstr(err->message, reason));
	}
	g_free(library->problem);
}

static void test_no_library(void)
{
	static struct late_library library = LATE_LIBRARY_INIT("libno-such.so.0", functions);

	check_fails(&library, "libno-such.so.0: cannot open shared object file");
}

static void test_no_function(void)
{
	static void *unset;
	static const struct late_function none[] = { { "no_such_function", &unset }, {} };
	static struct late_library library = LATE_LIBRARY_INIT("libz.so.1", none);

	check_fails(&library, "no_such_function");
	g_assert_null(unset);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/base/late-library/functions", test_functions);
	g_test_add_func("/base/late-library/no-library", test_no_library);
	g_test_add_func("/base/late-library/no-function", test_no_function);
	return g_test_run();
}
