// SPDX-License-Identifier: GPL-2.0-or-later
/* Command lines, option lists and cache modes of the tools. */
#include <glib.h>

#include "cache_mode.h"
#include "command_line.h"
#include "image.h"
#include "options.h"

/* ---- command lines ---- */

struct parsed {
	gboolean quiet;
	gboolean force;
	gboolean full;
	char *format;
	char **options;
	char **words;
	bool ok;
	GError *err;
};

static void parse(struct parsed *p, const char *line)
{
	g_auto(GStrv) argv = g_strsplit(line, " ", -1);
	const GOptionEntry entries[] = {
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &p->quiet, "", NULL },
		{ "force", 'u', 0, G_OPTION_ARG_NONE, &p->force, "", NULL },
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &p->format, "", "FMT" },
		{ "for", 0, 0, G_OPTION_ARG_NONE, &p->full, "", NULL },
		{ "options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &p->options, "", "LIST" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &p->words, NULL, NULL },
		{},
	};

	*p = (struct parsed){ 0 };
	p->ok = command_line_parse(entries, NULL, argv, &p->err);
}

static void clear(struct parsed *p)
{
	g_free(p->format);
	g_strfreev(p->options);
	g_strfreev(p->words);
	g_clear_error(&p->err);
}

static void assert_words(const struct parsed *p, const char *expected)
{
	g_autofree char *words = g_strjoinv(" ", p->words);

	g_assert_no_error(p->err);
	g_assert_true(p->ok);
	g_assert_cmpstr(words, ==, expected);
}

static void test_value_is_next_word(void)
{
	struct parsed p;

	parse(&p, "tool -f raw file 1M");
	assert_words(&p, "file 1M");
	g_assert_cmpstr(p.format, ==, "raw");
	clear(&p);
}

static void test_value_behind_letter(void)
{
	struct parsed p;

	parse(&p, "tool -fraw file");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "raw");
	clear(&p);
}

static void test_letters_together(void)
{
	struct parsed p;

	parse(&p, "tool -qufraw file");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "raw");
	g_assert_true(p.quiet && p.force);
	clear(&p);
	parse(&p, "tool -quf raw file");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "raw");
	g_assert_true(p.quiet && p.force);
	clear(&p);
}

/* A value may look like an option, with or without its own value. */
static void test_value_like_option(void)
{
	struct parsed p;

	parse(&p, "tool -f -fraw file");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "-fraw");
	clear(&p);
	parse(&p, "tool --format -fraw file");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "-fraw");
	clear(&p);
}

/* Also of names that begin with it. */
static void test_full_name(void)
{
	struct parsed p;

	parse(&p, "tool --for file");
	assert_words(&p, "file");
	g_assert_true(p.full && !p.force && !p.format);
	clear(&p);
}

static void test_shortened_names(void)
{
	struct parsed p;

	parse(&p, "tool --form raw --qui --opt=a=b file");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "raw");
	g_assert_cmpstr(p.options[0], ==, "a=b");
	g_assert_true(p.quiet);
	clear(&p);
	/* force and format; an unknown one */
	parse(&p, "tool --fo file");
	g_assert_false(p.ok);
	clear(&p);
	parse(&p, "tool --formats=raw file");
	g_assert_false(p.ok);
	clear(&p);
}

static void test_words_behind_dashes(void)
{
	struct parsed p;

	parse(&p, "tool -q -- -fraw -1");
	assert_words(&p, "-fraw -1");
	g_assert_null(p.format);
	clear(&p);
}

static void test_options_behind_words(void)
{
	struct parsed p;

	parse(&p, "tool file -fraw --quiet");
	assert_words(&p, "file");
	g_assert_cmpstr(p.format, ==, "raw");
	g_assert_true(p.quiet);
	clear(&p);
}

static void test_repeated(void)
{
	struct parsed p;

	parse(&p, "tool -o a=1 -ob=2 --options=c=3 file");
	assert_words(&p, "file");
	g_assert_cmpuint(g_strv_length(p.options), ==, 3);
	g_assert_cmpstr(p.options[0], ==, "a=1");
	g_assert_cmpstr(p.options[1], ==, "b=2");
	g_assert_cmpstr(p.options[2], ==, "c=3");
	clear(&p);
}

static void test_unknown(void)
{
	static const char *const bad[] = { "tool -x", "tool --nosuch", "tool -qx", "tool -1",
					   "tool -f" };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct parsed p;

		parse(&p, bad[i]);
		g_assert_false(p.ok);
		g_assert_nonnull(p.err);
		clear(&p);
	}
}

/* ---- option lists ---- */

static void test_list(void)
{
	g_autoptr(GHashTable) table =
		g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

	g_assert_true(option_list_parse("a=1,b=x,,y=z,c", table));
	g_assert_true(option_list_parse("a=2,d=", table));
	g_assert_cmpuint(g_hash_table_size(table), ==, 4);
	g_assert_cmpstr(g_hash_table_lookup(table, "a"), ==, "2");
	g_assert_cmpstr(g_hash_table_lookup(table, "b"), ==, "x,y=z");
	g_assert_cmpstr(g_hash_table_lookup(table, "c"), ==, "on");
	g_assert_cmpstr(g_hash_table_lookup(table, "d"), ==, "");
}

static void test_bad_list(void)
{
	static const char *const bad[] = { "", "a=1,", "=1", "a=1,=2" };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(GHashTable) table =
			g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

		g_assert_false(option_list_parse(bad[i], table));
	}
}

static void test_list_help(void)
{
	g_assert_true(option_list_asks_help("help"));
	g_assert_true(option_list_asks_help("a=1,help"));
	g_assert_true(option_list_asks_help("?,a=1"));
	g_assert_false(option_list_asks_help("a=help"));
	g_assert_false(option_list_asks_help("a=1,,help"));
}

static void test_quote(void)
{
	g_autofree char *plain = option_value_quote("abc"), *commas = option_value_quote(",a,,b");

	g_assert_cmpstr(plain, ==, "abc");
	g_assert_cmpstr(commas, ==, ",,a,,,,b");
}

/* ---- cache modes ---- */

static void assert_mode(const char *name, unsigned open_flags, unsigned write_flags)
{
	struct cache_mode mode;

	g_assert_true(cache_mode_parse(name, &mode));
	g_assert_cmphex(mode.open_flags, ==, open_flags);
	g_assert_cmphex(cache_mode_write_flags(&mode), ==, write_flags);
}

static void test_cache_modes(void)
{
	struct cache_mode mode;

	assert_mode("none", IMAGE_DIRECT, 0);
	assert_mode("off", IMAGE_DIRECT, 0);
	assert_mode("directsync", IMAGE_DIRECT, IMAGE_REQ_FUA);
	assert_mode("writeback", 0, 0);
	assert_mode("writethrough", 0, IMAGE_REQ_FUA);
	assert_mode("unsafe", IMAGE_NO_FLUSH, 0);
	g_assert_false(cache_mode_parse("", &mode));
	g_assert_false(cache_mode_parse("None", &mode));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/options/shortened-names", test_shortened_names);
	g_test_add_func("/options/full-name", test_full_name);
	g_test_add_func("/options/value-is-next-word", test_value_is_next_word);
	g_test_add_func("/options/value-behind-letter", test_value_behind_letter);
	g_test_add_func("/options/letters-together", test_letters_together);
	g_test_add_func("/options/value-like-option", test_value_like_option);
	g_test_add_func("/options/words-behind-dashes", test_words_behind_dashes);
	g_test_add_func("/options/options-behind-words", test_options_behind_words);
	g_test_add_func("/options/repeated", test_repeated);
	g_test_add_func("/options/unknown", test_unknown);
	g_test_add_func("/options/list", test_list);
	g_test_add_func("/options/bad-list", test_bad_list);
	g_test_add_func("/options/list-help", test_list_help);
	g_test_add_func("/options/quote", test_quote);
	g_test_add_func("/options/cache-modes", test_cache_modes);
	return g_test_run();
}
