// SPDX-License-Identifier: GPL-2.0-or-later
/* Command lines and option lists; see options.h. */
#include "options.h"

#include <stdbool.h>
#include <string.h>

#include "option_list.h"

/* ---- command lines ---- */

static bool takes_value(const GOptionEntry *entry)
{
	return entry && entry->arg != G_OPTION_ARG_NONE && !(entry->flags & G_OPTION_FLAG_NO_ARG);
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

	for (; entries->long_name; entries++) {
		if (!*entries->long_name || strncmp(entries->long_name, name, len))
			continue;
		if (!entries->long_name[len])
			return entries;
		if (found)
			return NULL;
		found = entries;
	}
	return found;
}

/* Adds "--name" or "--name=value", a shortened name in full. Returns as add_short_options(). */
static bool add_long_option(GStrvBuilder *words, const GOptionEntry *entries, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	const GOptionEntry *entry = len ? find_by_prefix(entries, word + 2, len) : NULL;
	g_autofree char *full = NULL;

	if (entry)
		full = g_strconcat("--", entry->long_name, word + 2 + len, NULL);
	g_strv_builder_add(words, full ?: word);
	return !word[2 + len] && takes_value(entry);
}

/*
 * Adds "-xyfraw" as "-xyf" "raw", where f is the option with a value. Returns
 * whether the value is still to come, as the next word.
 */
static bool add_short_options(GStrvBuilder *words, const GOptionEntry *entries, const char *word)
{
	for (const char *letter = word + 1; *letter; letter++) {
		g_autofree char *letters = NULL;

		if (!takes_value(find_short(entries, *letter)))
			continue;
		if (!letter[1])
			break;
		letters = g_strndup(word, letter + 1 - word);
		g_strv_builder_add_many(words, letters, letter + 1, NULL);
		return false;
	}
	g_strv_builder_add(words, word);
	return word[1] && takes_value(find_short(entries, word[strlen(word) - 1]));
}

static char **split_attached_values(const GOptionEntry *entries, char *const *argv)
{
	g_autoptr(GStrvBuilder) words = g_strv_builder_new();
	bool is_value = true; /* argv[0] is no option either */
	bool options_ended = false;

	for (; *argv; argv++) {
		const char *word = *argv;

		if (is_value || options_ended || word[0] != '-') {
			g_strv_builder_add(words, word);
			is_value = false;
		} else if (word[1] == '-') {
			options_ended = !word[2];
			is_value = add_long_option(words, entries, word);
		} else {
			is_value = add_short_options(words, entries, word);
		}
	}
	return g_strv_builder_end(words);
}

bool options_parse(const GOptionEntry *entries, const char *summary, char *const *argv,
		   GError **err)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) words = split_attached_values(entries, argv);

	g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_set_summary(context, summary);
	g_option_context_set_help_enabled(context, summary != NULL);
	return g_option_context_parse_strv(context, &words, err);
}

/* ---- option lists ---- */

bool option_list_parse(const char *list, GHashTable *options)
{
	while (list) {
		g_autofree char *part = option_list_next(&list);
		char *value = strchr(part, '=');

		if (!*part || value == part)
			return false;
		if (value)
			*value++ = '\0';
		g_hash_table_replace(options, g_strdup(part), g_strdup(value ?: "on"));
	}
	return true;
}

bool option_list_asks_help(const char *list)
{
	while (list) {
		g_autofree char *part = option_list_next(&list);

		if (strcmp(part, "help") == 0 || strcmp(part, "?") == 0)
			return true;
	}
	return false;
}

char *option_value_quote(const char *value)
{
	GString *quoted = g_string_new(value);

	g_string_replace(quoted, ",", ",,", 0);
	return g_string_free(quoted, FALSE);
}
