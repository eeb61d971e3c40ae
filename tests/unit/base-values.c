// SPDX-License-Identifier: GPL-2.0-or-later
/* Sizes and numbers as people write and read them. */
#include <errno.h>
#include <glib.h>

#include "values.h"

static void assert_size(const char *text, uint64_t expected)
{
	uint64_t bytes = 0;

	g_assert_cmpint(size_parse(text, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, expected);
}

static void assert_no_size(const char *text, int error)
{
	uint64_t bytes = 4711;

	g_assert_cmpint(size_parse(text, &bytes), ==, error);
	g_assert_cmpuint(bytes, ==, 4711);
}

static void test_suffixes(void)
{
	assert_size("0", 0);
	assert_size("511", 511);
	assert_size("7b", 7);
	assert_size("7B", 7);
	assert_size("1k", 1024);
	assert_size("1K", 1024);
	assert_size("3M", 3 << 20);
	assert_size("4G", 4ull << 30);
	assert_size("5t", 5ull << 40);
	assert_size("6P", 6ull << 50);
	assert_size("7E", 7ull << 60);
	assert_size(" 1k", 1024);
	assert_size("+1M", 1 << 20);
	assert_size(" +1M", 1 << 20);
	assert_size("010", 10);
}

static void test_hexadecimal(void)
{
	assert_size("0x10", 16);
	assert_size("0XfF", 255);
	assert_size("0x1b", 27); /* a digit, not a suffix */
	assert_size("0x1k", 1024);
	assert_no_size("0x", -EINVAL);
	assert_no_size("0xg", -EINVAL);
	assert_no_size("0x1.8k", -EINVAL);
}

static void test_fractions(void)
{
	assert_size("1.5k", 1536);
	assert_size("0.5k", 512);
	assert_size("0.001k", 1);
	assert_size("1.0000001M", 1048576);
	assert_size("0.1M", 104858);
	assert_size("1.999999999G", 2147483647);
	assert_size("1.99999999999G", 2147483648);
	assert_size("1.M", 1048576);
	assert_size("1.k", 1024);
	assert_size("1.", 1);
	assert_size("1.0", 1);
	assert_size("2.b", 2);
	assert_size("0.0001k", 0);
	assert_no_size("1.5", -EINVAL);
	assert_no_size("1.5b", -EINVAL);
	assert_no_size(".5k", -EINVAL);
	assert_no_size("1.5.5k", -EINVAL);
	assert_no_size("1,5k", -EINVAL);
}

static void test_no_sizes(void)
{
	static const char *const bad[] = { "",	   " ",	  "k",	 "abc", "-1",  "++1", "1kk",
					   "1KiB", "1 k", "1k ", "1e3", "nan", "inf", "1Q" };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_no_size(bad[i], -EINVAL);
}

static void test_limits(void)
{
	assert_size("9223372036854775807", INT64_MAX);
	assert_no_size("9223372036854775808", -ERANGE);
	assert_no_size("99999999999999999999", -ERANGE);
	assert_no_size("8E", -ERANGE);
	assert_no_size("16E", -ERANGE);
	assert_no_size("18446744073709551615k", -ERANGE);
	assert_size("7.5E", 15ull << 59);
}

static void test_numbers(void)
{
	uint64_t number = 0;

	g_assert_cmpint(number_parse("255", 0, 255, &number), ==, 0);
	g_assert_cmpuint(number, ==, 255);
	g_assert_cmpint(number_parse("0xff", 0, 255, &number), ==, 0);
	g_assert_cmpuint(number, ==, 255);
	g_assert_cmpint(number_parse("1", 1, 16, &number), ==, 0);
	g_assert_cmpuint(number, ==, 1);
	g_assert_cmpint(number_parse("256", 0, 255, &number), ==, -ERANGE);
	g_assert_cmpint(number_parse("0", 1, 16, &number), ==, -ERANGE);
	g_assert_cmpint(number_parse("99999999999999999999", 0, UINT64_MAX, &number), ==, -ERANGE);
	g_assert_cmpint(number_parse("-1", 0, 255, &number), ==, -EINVAL);
	g_assert_cmpint(number_parse("1k", 0, 4096, &number), ==, -EINVAL);
	g_assert_cmpint(number_parse("0x", 0, 4096, &number), ==, -EINVAL);
	g_assert_cmpint(number_parse("", 0, 4096, &number), ==, -EINVAL);
	g_assert_cmpuint(number, ==, 1);
}

/* Every spelling that QEMU 7.2 accepts, and some that it does not. */
static void test_booleans(void)
{
	static const struct {
		const char *text;
		int on; /* -1: not a boolean */
	} spellings[] = {
		{ "on", 1 }, { "yes", 1 }, { "true", 1 },  { "y", 1 },	{ "off", 0 },
		{ "no", 0 }, { "n", 0 },   { "false", 0 }, { "1", -1 }, { "0", -1 },
		{ "", -1 },  { "ON", -1 }, { "t", -1 },	   { "f", -1 }, { "on ", -1 },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(spellings); i++) {
		bool on;

		g_assert_cmpint(bool_parse(spellings[i].text, &on) ? on : -1, ==, spellings[i].on);
	}
}

static void assert_text(char *text, const char *expected)
{
	g_assert_cmpstr(text, ==, expected);
	g_free(text);
}

/* As qemu-img info prints them. */
static void test_to_text(void)
{
	assert_text(size_to_text(0), "0 B");
	assert_text(size_to_text(512), "512 B");
	assert_text(size_to_text(1024), "1 KiB");
	assert_text(size_to_text(1536), "1.5 KiB");
	assert_text(size_to_text(1000448), "977 KiB");
	assert_text(size_to_text(1024000), "0.977 MiB");
	assert_text(size_to_text(1000000000), "954 MiB");
	assert_text(size_to_text(1ull << 60), "1 EiB");
	assert_text(size_to_text(UINT64_MAX), "16 EiB");
}

/* As qemu-io prints them. */
static void test_to_io_text(void)
{
	assert_text(size_to_io_text(0), "0 bytes");
	assert_text(size_to_io_text(1), "1 bytes");
	assert_text(size_to_io_text(1023), "1023 bytes");
	assert_text(size_to_io_text(1024), "1 KiB");
	assert_text(size_to_io_text(1536), "1.500 KiB");
	assert_text(size_to_io_text(1024000), "1000 KiB");
	assert_text(size_to_io_text(1049088), "1 MiB");
	assert_text(size_to_io_text(1000000000), "953.674 MiB");
	assert_text(size_to_io_text(1ull << 62), "4 EiB");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/values/suffixes", test_suffixes);
	g_test_add_func("/values/hexadecimal", test_hexadecimal);
	g_test_add_func("/values/fractions", test_fractions);
	g_test_add_func("/values/no-sizes", test_no_sizes);
	g_test_add_func("/values/limits", test_limits);
	g_test_add_func("/values/numbers", test_numbers);
	g_test_add_func("/values/booleans", test_booleans);
	g_test_add_func("/values/to-text", test_to_text);
	g_test_add_func("/values/to-io-text", test_to_io_text);
	return g_test_run();
}
