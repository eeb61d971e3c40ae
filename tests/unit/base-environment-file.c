// SPDX-License-Identifier: GPL-2.0-or-later
/* Files of variables, as systemd.exec(5) describes them for EnvironmentFile=. */
#include <errno.h>

#include "environment_file.h"
#include "error.h"

static void check(const char *text, const char *expected)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *value = environment_file_get(text, "IMAGE", &err);

	g_assert_no_error(err);
	g_assert_cmpstr(value, ==, expected);
}

static void test_lines(void)
{
	check("IMAGE=a", "a");
	check("IMAGE=a\nOPTIONS=b\n", "a");
	check("\n \t\n  IMAGE \t=  a b \t\r\nOPTIONS=b", "a b");
	check("# IMAGE=a\n;IMAGE=b\nIMAGE\nIMAGES=c\nMY IMAGE=d\nexport IMAGE=e\n", NULL);
	check("# not continued \\\nIMAGE=a\n", "a");
	check("IMAGE=a\nIMAGE=b", "b");
	check("IMAGE=a\nIMAGE=\nOTHER=b", "");
	check("", NULL);
}

static void test_unquoted(void)
{
	check("IMAGE=/a\\ b.qcow2\n", "/a b.qcow2");
	check("IMAGE=a\\\\b\\\"\\nc", "a\\b\"nc");
	check("IMAGE=a\\\nb\nOTHER=c", "ab");
	check("IMAGE=a \\\n b \nOTHER=c", "a  b");
	check("IMAGE=a\\ \n", "a ");
	check("IMAGE=a \"b\" 'c'", "a \"b\" 'c'");
	check("IMAGE=a\\", "a");
	check("IMAGE=a \\", "a ");
	check("IMAGE=\\", "");
	check("IMAGE=a\\\r\nOTHER=c", "a");
	check("IMAGE=a\\\rb\nOTHER=c", "ab");
	check("OTHER=a\\\nIMAGE=b\n", NULL);
	check("IMAGE=a#b # c", "a#b # c");
}

static void test_quoted(void)
{
	check("IMAGE=\"a b \"  \nOTHER=c", "a b ");
	check("IMAGE=' a\\b\"\nc '\nOTHER=c", " a\\b\"\nc ");
	check("IMAGE=\"\\\"a\\\\\\$\\`\\b\\\n c'\"", "\"a\\$`\\b c'");
	check("IMAGE=\"a\" 'b'c d", "abc d");
	check("IMAGE=\"\"\n", "");
	check("OTHER='\nIMAGE=a'\n", NULL);
}

static void test_no_end(void)
{
	static const char *const texts[] = { "IMAGE=\"a", "IMAGE=a\nOTHER='b", "IMAGE=\"a\\\"",
					     "IMAGE=\"a\\" };

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(GError) err = NULL;

		g_assert_null(environment_file_get(texts[i], "IMAGE", &err));
		g_assert_error(err, UBD_ERROR, EINVAL);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/environment-file/lines", test_lines);
	g_test_add_func("/environment-file/unquoted", test_unquoted);
	g_test_add_func("/environment-file/quoted", test_quoted);
	g_test_add_func("/environment-file/no-end", test_no_end);
	return g_test_run();
}
