// SPDX-License-Identifier: GPL-2.0-or-later
/* Error messages and the values that callers get. */
#include <errno.h>
#include <glib.h>

#include "error.h"

static void errno_is_the_reason(void)
{
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(error_set(&err, -ENOENT, "%s: cannot open %u", "a", 7), ==, -ENOENT);
	g_assert_error(err, UBD_ERROR, ENOENT);
	g_assert_cmpstr(err->message, ==, "a: cannot open 7: No such file or directory");
}

static void our_own_reason(void)
{
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(error_refuse(&err, -EINVAL, "%u is too many", 7), ==, -EINVAL);
	g_assert_error(err, UBD_ERROR, EINVAL);
	g_assert_cmpstr(err->message, ==, "7 is too many");
}

static void nobody_wants_to_read_it(void)
{
	g_assert_cmpint(error_set(NULL, -EIO, "%s", "a"), ==, -EIO);
	g_assert_cmpint(error_refuse(NULL, -EINVAL, "%s", "a"), ==, -EINVAL);
}

static int refuse(GError **err, int ret, const char *format, ...) G_GNUC_PRINTF(3, 4);

static int refuse(GError **err, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vrefuse(err, ret, format, args);
	va_end(args);
	g_prefix_error(err, "%s: ", "disk");
	return ret;
}

static void prefix(void)
{
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(refuse(&err, -EINVAL, "%u%%", 7), ==, -EINVAL);
	g_assert_error(err, UBD_ERROR, EINVAL);
	g_assert_cmpstr(err->message, ==, "disk: 7%");
	g_assert_cmpint(refuse(NULL, -EINVAL, "%u", 7), ==, -EINVAL);
}

/* A message is not used as a format string again. */
static void percent_in_the_message(void)
{
	g_autoptr(GError) err = NULL;

	error_set(&err, -EIO, "%s", "100%s");
	g_assert_cmpstr(err->message, ==, "100%s: Input/output error");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/error/errno-is-the-reason", errno_is_the_reason);
	g_test_add_func("/error/our-own-reason", our_own_reason);
	g_test_add_func("/error/nobody-wants-to-read-it", nobody_wants_to_read_it);
	g_test_add_func("/error/prefix", prefix);
	g_test_add_func("/error/percent-in-the-message", percent_in_the_message);
	return g_test_run();
}
