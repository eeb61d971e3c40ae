// SPDX-License-Identifier: GPL-2.0-or-later
/* Strings in JSON. */
#include "json_string.h"

static void check(const char *text, const char *expected)
{
	g_autoptr(GString) json = g_string_new("x");

	json_append_string(json, text);
	g_assert_cmpstr(json->str, ==, expected);
}

static void test_escapes(void)
{
	check("", "x\"\"");
	check("a/b c", "x\"a/b c\"");
	check("\"\\\b\f\n\r\t", "x\"\\\"\\\\\\b\\f\\n\\r\\t\"");
	check("\x01\x1f\x7f", "x\"\\u0001\\u001F\\u007F\"");
}

static void test_beyond_ascii(void)
{
	check("\xc3\xa9", "x\"\\u00E9\"");
	check("\xf0\x9f\x98\x80", "x\"\\uD83D\\uDE00\"");
	check("a\xff", "x\"a\\uFFFD\"");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/base/json-string/escapes", test_escapes);
	g_test_add_func("/base/json-string/beyond-ascii", test_beyond_ascii);
	return g_test_run();
}
