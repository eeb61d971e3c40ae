// SPDX-License-Identifier: GPL-2.0-or-later
/* Command lines; see command_line.h. */
#include "command_line.h"

#include <string.h>

/* The words for GLib's parser, up to the first that is wrong. */
struct words {
	const GOptionEntry *entries;
	bool leading; /* options end at the first word that is none */
	GStrvBuilder *good;
	char *wrong; /* what is wrong, for people; NULL: nothing */
};

static bool takes_value(const GOptionEntry *entry)
{
	return entry->arg != G_OPTION_ARG_NONE && !(entry->flags & G_OPTION_FLAG_NO_ARG);
}

static const GOptionEntry *find_short(const GOptionEntry *entries, char letter)
{
	for (; entries->long_name; entries++)
		if (entries->short_name == letter)
			return entries;
	return NULL;
}

/* The only option whose long name begins so, or has it in full; NULL if there is none. */
static const GOptionEntry *find_by_prefix(const GOptionEntry *entries, const char *name, size_t len)
{
	const GOptionEntry *found = NULL;
	bool is_ambiguous = false;

	for (; entries->long_name; entries++) {
		if (!*entries->long_name || strncmp(entries->long_name, name, len))
			continue;
		if (!entries->long_name[len])
			return entries;
		is_ambiguous |= found != NULL;
		found = entries;
	}
	return is_ambiguous ? NULL : found;
}

/* In QEMU's words. */
static void set_unrecognized(struct words *words, const char *word)
{
	words->wrong = g_strdup_printf("unrecognized option '%s'", word);
}

/*
 * Adds an option, and its value from *next unless it is in the option's word. Returns what comes
 * after it.
 */
static char *const *add_option(struct words *words, const char *word, const char *full,
			       bool needs_next, char *const *next)
{
	if (needs_next && !*next) {
		words->wrong = g_strdup_printf("missing argument for option '%s'", word);
		return next;
	}
	g_strv_builder_add(words->good, full);
	if (needs_next)
		g_strv_builder_add(words->good, *next++);
	return next;
}

/* "--name" or "--name=value"; a shortened name is added in full. */
static char *const *add_long_option(struct words *words, const char *word, char *const *next)
{
	size_t len = strcspn(word + 2, "=");
	const GOptionEntry *entry = len ? find_by_prefix(words->entries, word + 2, len) : NULL;
	bool has_value = word[2 + len];
	g_autofree char *full = NULL;

	if (!entry || (has_value && !takes_value(entry))) {
		set_unrecognized(words, word);
		return next;
	}
	full = g_strconcat("--", entry->long_name, word + 2 + len, NULL);
	return add_option(words, word, full, !has_value && takes_value(entry), next);
}

/* "-xyfraw" is added as "-xyf" "raw", where f is the option with a value. */
static char *const *add_short_options(struct words *words, const char *word, char *const *next)
{
	for (const char *letter = word + 1; *letter; letter++) {
		const GOptionEntry *entry = find_short(words->entries, *letter);
		g_autofree char *letters = NULL;

		if (!entry) {
			set_unrecognized(words, word);
			return next;
		}
		if (!takes_value(entry))
			continue;
		if (!letter[1])
			return add_option(words, word, word, true, next);
		letters = g_strndup(word, letter + 1 - word);
		g_strv_builder_add_many(words->good, letters, letter + 1, NULL);
		return next;
	}
	return add_option(words, word, word, false, next);
}

static void split_words(struct words *words, char *const *argv)
{
	bool options_ended = false;

	/* Also where there is no argv[0]. */
	if (*argv)
		g_strv_builder_add(words->good, *argv++);
	while (*argv && !words->wrong) {
		const char *word = *argv++;

		if (options_ended || word[0] != '-' || !word[1] || strcmp(word, "--") == 0) {
			g_strv_builder_add(words->good, word);
			options_ended |= words->leading || strcmp(word, "--") == 0;
		} else if (word[1] == '-') {
			argv = add_long_option(words, word, argv);
		} else {
			argv = add_short_options(words, word, argv);
		}
	}
}

/* Parses the good words first, so that what is before a wrong one, such as --help, has its turn. */
static bool parse(GOptionContext *context, struct words *words, char *const *argv, GError **err)
{
	g_auto(GStrv) good = NULL;

	split_words(words, argv);
	good = g_strv_builder_end(words->good);
	if (!g_option_context_parse_strv(context, &good, err))
		return false;
	if (words->wrong)
		g_set_error_literal(err, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
				    words->wrong);
	return !words->wrong;
}

static bool parse_entries(const GOptionEntry *entries, const char *summary, bool leading,
			  char *const *argv, GError **err)
{
	static const GOptionEntry help = { "help", 'h', 0, G_OPTION_ARG_NONE, NULL, NULL, NULL };
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GStrvBuilder) good = g_strv_builder_new();
	g_autoptr(GArray) known = g_array_new(TRUE, FALSE, sizeof(GOptionEntry));
	struct words words = { .leading = leading, .good = good };
	bool ok;

	for (const GOptionEntry *entry = entries; entry->long_name; entry++)
		g_array_append_val(known, *entry);
	if (summary)
		g_array_append_val(known, help);
	words.entries = &g_array_index(known, GOptionEntry, 0);
	g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_set_summary(context, summary);
	g_option_context_set_help_enabled(context, summary != NULL);
	g_option_context_set_strict_posix(context, leading);
	ok = parse(context, &words, argv, err);
	g_free(words.wrong);
	return ok;
}

bool command_line_parse(const GOptionEntry *entries, const char *summary, char *const *argv,
			GError **err)
{
	return parse_entries(entries, summary, false, argv, err);
}

bool command_line_parse_leading(const GOptionEntry *entries, char *const *argv, GError **err)
{
	return parse_entries(entries, NULL, true, argv, err);
}
