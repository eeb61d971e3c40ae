// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names and options of graphs: what is parsed, what is refused, and that the man page is complete.
 */
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "image_ops.h"
#include "node_json.h"
#include "node_name.h"

/* The parsed text, as JSON again; or the error. */
static char *parsed(const char *text)
{
	g_autoptr(GError) err = NULL;
	struct node_options *options = node_options_from_json(text, "", &err);
	char *json;

	if (!options)
		return g_strdup(err->message);
	json = node_options_to_json(options);
	node_options_free(options);
	return json;
}

static void check_json(const char *text, const char *expected)
{
	g_autofree char *found = parsed(text);

	g_assert_cmpstr(found, ==, expected);
}

static void check_bad(const char *text, const char *reason)
{
	g_autofree char *found = parsed(text);

	if (!strstr(found, reason))
		g_error("%s gives: %s", text, found);
}

static void test_json(void)
{
	check_json("{}", "{}");
	check_json(" { \"a\" :\t1 , 'b':true,\n\"c\": null, \"d\":\"\" } ",
		   "{\"a\": 1, \"b\": true, \"c\": null, \"d\": \"\"}");
	check_json("{\"file\":{\"driver\":\"file\",\"filename\":\"x\"},\"driver\":\"raw\"}",
		   "{\"file\": {\"driver\": \"file\", \"filename\": \"x\"}, \"driver\": \"raw\"}");
	check_json("{\"file.driver\":\"file\",\"z\":-1.5e3,\"file\":{\"filename\":\"x\"}}",
		   "{\"file\": {\"driver\": \"file\", \"filename\": \"x\"}, \"z\": -1.5e3}");
	check_json("{\"a\":[1,[\"x\"],{\"b\":false}]}",
		   "{\"a\": {\"0\": 1, \"1\": {\"0\": \"x\"}, \"2\": {\"b\": false}}}");
	check_json("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud83d\\ude00'\"}",
		   "{\"a\": \"\\\"\\\\/\\b\\f\\n\\r\\t\\u00E4\\uD83D\\uDE00'\"}");
	/* A value and options below it cannot be one object. */
	check_json("{\"a\":1,\"a.b\":2}", "{\"a\": 1, \"a.b\": 2}");
}

static void test_bad_json(void)
{
	static const char *const premature[] = { "{",	      "{\"",	  "{\"a",      "{\"a\"",
						 "{\"a\":",   "{\"a\":1", "{\"a\":1,", "{\"a\":[",
						 "{\"a\":[1", "{\"a\":{" };

	for (unsigned i = 0; i < G_N_ELEMENTS(premature); i++)
		check_bad(premature[i], "premature EOI");
	check_bad("", "Invalid JSON object given");
	check_bad("[]", "Invalid JSON object given");
	check_bad("{} x", "Expecting at most one JSON value");
	check_bad("{\"a\":1,\"a\":2}", "duplicate key");
	check_bad("{\"a\":{}}", "'a' is empty");
	check_bad("{\"a\":[]}", "'a' is empty");
	check_bad("{\"a\":1,}", "expected a string");
	check_bad("{a:1}", "expected a string");
	check_bad("{\"a\" 1}", "expected ':'");
	check_bad("{\"a\":1 \"b\":2}", "expected ',' or '}'");
	check_bad("{\"a\":[1 2]}", "expected ',' or ']'");
	check_bad("{\"a\":tru}", "expected a value");
	check_bad("{\"a\":truer}", "expected a value");
	check_bad("{\"a\":+1}", "expected a value");
	check_bad("{\"a\":1.2.3}", "expected a number");
	check_bad("{\"a\":-}", "expected a number");
	check_bad("{\"a\":01}", "expected a number");
	check_bad("{\"a\":1.}", "expected a number");
	check_bad("{\"a\":1e}", "expected a number");
	check_bad("{\"a\":\"\\x\"}", "expected an escape sequence");
	check_bad("{\"a\":\"\\u12g4\"}", "expected four hexadecimal digits");
	check_bad("{\"a\":\"\\u0000\"}", "invalid character");
	check_bad("{\"a\":\"\\udc00\"}", "invalid character");
	check_bad("{\"a\":\"\\ud800\\u0041\"}", "invalid surrogate pair");
	check_bad("{\"a\":\"line\nline\"}", "expected the end of a string");
	check_bad("{\"a\":\"\xff\"}", "invalid UTF-8");
}

/* A name in a header may be a stranger's. */
static void test_limits(void)
{
	GString *deep = g_string_new(NULL), *many = g_string_new("{"), *lists = g_string_new(NULL);
	g_autofree char *list = NULL;

	for (int i = 0; i < 10000; i++)
		g_string_append(deep, "{\"a\":");
	check_bad(deep->str, "nesting depth limit exceeded");
	g_string_append(lists, "{\"a\":");
	for (int i = 0; i < 10000; i++)
		g_string_append_c(lists, '[');
	check_bad(lists->str, "nesting depth limit exceeded");
	for (int i = 0; i <= NODE_OPTIONS_MAX; i++)
		g_string_append_printf(many, "%s\"a%d\":1", i ? "," : "", i);
	g_string_append_c(many, '}');
	check_bad(many->str, "too many options");
	list = g_strnfill(70000, ' ');
	check_bad(list, "too long");
	g_string_free(deep, TRUE);
	g_string_free(many, TRUE);
	g_string_free(lists, TRUE);
}

/* If the driver were dropped, the format would be probed. */
static void check_cut(const struct node_options *options)
{
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(node_options_check(options, "raw", true, NULL, false, &err), ==, -EINVAL);
	g_assert_cmpstr(err->message, ==, "more than 256 options");
}

static void test_dropped_options_are_remembered(void)
{
	struct node_options *options = node_options_new(), *copy, *child, *parent;

	for (int i = 0; i < NODE_OPTIONS_MAX; i++) {
		g_autofree char *name = g_strdup_printf("file.a%d", i);

		g_assert_true(node_options_set(options, name, NODE_VALUE_NULL, ""));
	}
	g_assert_cmpint(node_options_check_count(options, NULL), ==, 0);
	g_assert_false(node_options_set(options, "driver", NODE_VALUE_STRING, "raw"));
	check_cut(options);
	copy = node_options_copy(options);
	check_cut(copy);
	child = node_options_take_child(copy, "file");
	check_cut(copy);
	check_cut(child);
	parent = node_options_new();
	node_options_put_child(parent, "backing", child);
	check_cut(parent);
	node_options_free(parent);
	node_options_free(copy);
	node_options_free(options);
}

static void check_list(const char *list, const char *filename, const char *expected)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *name = image_name_from_options(list, filename, &err);

	g_assert_cmpstr(name ?: err->message, ==, expected);
}

static void test_lists(void)
{
	check_list("driver=raw,file.filename=a,,b", NULL,
		   "json:{\"driver\": \"raw\", \"file\": {\"filename\": \"a,b\"}}");
	check_list("driver=raw,on,nooff,", NULL,
		   "json:{\"driver\": \"raw\", \"on\": \"on\", \"off\": \"off\"}");
	check_list("a=1,a=2", NULL, "json:{\"a\": \"2\"}");
	check_list("node", NULL, "json:{\"file\": \"node\"}");
	check_list("", NULL, "json:{}");
	check_list(
		"driver=raw", "file:x",
		"json:{\"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": \"x\"}}");
	check_list("driver=raw", "json:{\"driver\":\"qcow2\",\"offset\":1}",
		   "json:{\"driver\": \"raw\", \"offset\": 1}");
	check_list("a=1", "json:{",
		   "Could not parse the JSON options: JSON parse error, premature EOI");
	check_list("id=1", NULL,
		   "Parameter 'id' expects an identifier: letters, digits, '-', '.', '_', starting "
		   "with a letter");
}

/* Names of disks depend on them. */
static void test_stable_names(void)
{
	g_autofree char *plain = image_stable_name("/no/disk");
	static const char *const same[] = {
		"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"/no/disk\"}}",
		"json:{\"file.filename\":\"/no/disk\",\"cache-size\":1048576,\"driver\":\"raw\"}",
		"json:{\"driver\":\"file\",\"filename\":\"/no/disk\"}",
	};

	g_assert_cmpstr(plain, ==, "/no/disk");
	for (unsigned i = 0; i < G_N_ELEMENTS(same); i++) {
		g_autofree char *name = image_stable_name(same[i]);

		g_assert_cmpstr(name, ==, plain);
	}
	for (unsigned i = 0; i < 2; i++) {
		g_autofree char *name = image_stable_name(
			i ? "json:{\"size\":512,\"offset\":512,\"driver\":\"raw\","
			    "\"file\":{\"filename\":\"/no/disk\",\"locking\":\"off\"}}"
			  : "json:{\"driver\":\"raw\",\"file.filename\":\"/no/disk\","
			    "\"offset\":512,\"size\":512}");

		g_assert_cmpstr(
			name, ==,
			"json:{\"driver\": \"raw\", \"file\": {\"filename\": \"/no/disk\"}, "
			"\"offset\": 512, \"size\": 512}");
	}
}

/* ---- the man page ---- */

/* What is between ".Ss NAME" and the next heading. */
static char *section(const char *page, const char *name)
{
	g_autofree char *heading = g_strdup_printf("\n.Ss %s\n", name);
	const char *start = strstr(page, heading), *end;

	g_assert_nonnull(start);
	start += strlen(heading);
	end = strstr(start, "\n.S");
	return g_strndup(start, end - start + 1);
}

static void check_section(const char *page, const char *name, const struct node_option *table)
{
	g_autofree char *text = section(page, name);
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	unsigned documented = 0, known = 0;

	for (char **line = lines; *line; line++)
		documented += g_str_has_prefix(*line, ".It Cm ");
	for (; table->name; table++, known++) {
		g_autofree char *item = g_strdup_printf(".It Cm %s%s\n", table->name,
							table->is_place ? " No *" : "");

		if (!strstr(text, item))
			g_error("ubd-options.7, %s: no line %s", name, item);
	}
	g_assert_cmpuint(documented, ==, known);
}

static void test_man_page(void)
{
	g_autofree char *page = NULL;

	g_assert_true(g_file_get_contents(g_getenv("UBD_OPTIONS_PAGE"), &page, NULL, NULL));
	check_section(page, "All nodes", node_common_options);
	check_section(page, "qcow2", image_qcow2_format.options);
	check_section(page, "raw", image_raw_format.options);
	check_section(page, "copy-on-read", image_copy_on_read_filter.options);
	check_section(page, "blkdebug", image_blkdebug_filter.options);
	check_section(page, "throttle", image_throttle_filter.options);
	check_section(page, "preallocate", image_preallocate_filter.options);
	check_section(page, "file", image_file_bottom.options);
#ifdef HAVE_LIBNBD
	check_section(page, "nbd", image_nbd_bottom.options);
#endif
	check_section(page, "null-co", image_null_bottom.options);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/node-options/json", test_json);
	g_test_add_func("/node-options/bad-json", test_bad_json);
	g_test_add_func("/node-options/limits", test_limits);
	g_test_add_func("/node-options/dropped-options-are-remembered",
			test_dropped_options_are_remembered);
	g_test_add_func("/node-options/lists", test_lists);
	g_test_add_func("/node-options/stable-names", test_stable_names);
	g_test_add_func("/node-options/man-page", test_man_page);
	return g_test_run();
}
