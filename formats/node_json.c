// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * JSON text as options of nodes; see node_json.h.
 *
 * The text may come from the header of a stranger's image. So its length and its depth are limited,
 * and it becomes a flat list at once, without a tree that would have to be walked.
 */
#include "node_json.h"

#include <errno.h>
#include <string.h>

#include "error.h"

#define MAX_TEXT  (64u << 10)
#define MAX_DEPTH 16

struct parser {
	const char *at;
	struct node_options *options;
	const char *prefix; /* of messages */
	GError **err;
};

static bool parse_value(struct parser *p, const char *name, unsigned depth);

static bool fail(struct parser *p, const char *reason)
{
	error_refuse(p->err, -EINVAL, "%s%s", p->prefix, reason);
	return false;
}

/* Fails with what was expected here, or because the text ended too early. */
static bool fail_here(struct parser *p, const char *expected)
{
	g_autofree char *reason = NULL;

	if (!*p->at)
		return fail(p, "JSON parse error, premature EOI");
	reason = g_strdup_printf("JSON parse error, expected %s at '%.16s'", expected, p->at);
	return fail(p, reason);
}

static void skip_blanks(struct parser *p)
{
	p->at += strspn(p->at, " \t\r\n");
}

/* Skips the character if it comes next. */
static bool take(struct parser *p, char c)
{
	skip_blanks(p);
	if (*p->at != c)
		return false;
	p->at++;
	return true;
}

/* ---- strings ---- */

static bool take_hex(struct parser *p, gunichar *ret_code)
{
	*ret_code = 0;
	for (int i = 0; i < 4; i++, p->at++) {
		if (!g_ascii_isxdigit(*p->at))
			return fail_here(p, "four hexadecimal digits");
		*ret_code = *ret_code << 4 | g_ascii_xdigit_value(*p->at);
	}
	return true;
}

/* Parses what follows "\u"; two of these for characters beyond the first 64k. */
static bool take_unicode(struct parser *p, GString *string)
{
	gunichar code, low;

	if (!take_hex(p, &code))
		return false;
	if (code >= 0xd800 && code < 0xdc00 && p->at[0] == '\\' && p->at[1] == 'u') {
		p->at += 2;
		if (!take_hex(p, &low))
			return false;
		if (low < 0xdc00 || low > 0xdfff)
			return fail(p, "JSON parse error, invalid surrogate pair");
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	if (!code || !g_unichar_validate(code))
		return fail(p, "JSON parse error, invalid character");
	g_string_append_unichar(string, code);
	return true;
}

static bool take_escape(struct parser *p, GString *string)
{
	static const char letters[] = "\"'\\/bfnrt";
	static const char meant[] = "\"'\\/\b\f\n\r\t";
	const char *found;

	if (*p->at == 'u') {
		p->at++;
		return take_unicode(p, string);
	}
	found = *p->at ? strchr(letters, *p->at) : NULL;
	if (!found)
		return fail_here(p, "an escape sequence");
	g_string_append_c(string, meant[found - letters]);
	p->at++;
	return true;
}

/* NULL with the error set if there is none. */
static char *take_string(struct parser *p)
{
	g_autoptr(GString) string = g_string_new(NULL);
	char quote;

	skip_blanks(p);
	quote = *p->at;
	if (quote != '"' && quote != '\'') {
		fail_here(p, "a string");
		return NULL;
	}
	for (p->at++; *p->at != quote;) {
		if (*p->at == '\\') {
			p->at++;
			if (!take_escape(p, string))
				return NULL;
		} else if ((unsigned char)*p->at < ' ') {
			fail_here(p, "the end of a string");
			return NULL;
		} else {
			g_string_append_c(string, *p->at++);
		}
	}
	p->at++;
	return g_strdup(string->str);
}

/* ---- values ---- */

static bool add(struct parser *p, const char *name, enum node_value_type type, const char *text)
{
	if (node_options_find(p->options, name))
		return fail(p, "JSON parse error, duplicate key");
	return node_options_set(p->options, name, type, text) || fail(p, "too many options");
}

static bool parse_members(struct parser *p, const char *prefix, unsigned depth)
{
	do {
		g_autofree char *key = take_string(p);
		g_autofree char *name = key ? g_strconcat(prefix, key, NULL) : NULL;

		if (!key)
			return false;
		if (!take(p, ':'))
			return fail_here(p, "':'");
		if (!parse_value(p, name, depth))
			return false;
	} while (take(p, ','));
	return take(p, '}') || fail_here(p, "',' or '}'");
}

static bool parse_elements(struct parser *p, const char *prefix, unsigned depth)
{
	unsigned i = 0;

	do {
		g_autofree char *name = g_strdup_printf("%s%u", prefix, i++);

		if (!parse_value(p, name, depth))
			return false;
	} while (take(p, ','));
	return take(p, ']') || fail_here(p, "',' or ']'");
}

static bool parse_word(struct parser *p, const char *name)
{
	static const struct {
		const char *word;
		enum node_value_type type;
	} words[] = {
		{ "true", NODE_VALUE_BOOL },
		{ "false", NODE_VALUE_BOOL },
		{ "null", NODE_VALUE_NULL },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
		size_t len = strlen(words[i].word);

		if (strncmp(p->at, words[i].word, len) || g_ascii_isalnum(p->at[len]))
			continue;
		p->at += len;
		return add(p, name, words[i].type, words[i].word);
	}
	return fail_here(p, "a value");
}

static bool parse_number(struct parser *p, const char *name)
{
	size_t len = strspn(p->at, "+-.0123456789eE");
	g_autofree char *text = g_strndup(p->at, len);

	/* Whether it is a number at all; the option's reader checks its value. */
	if (!g_regex_match_simple("^-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?$", text, 0, 0))
		return fail_here(p, "a number");
	p->at += len;
	return add(p, name, NODE_VALUE_NUMBER, text);
}

static bool parse_inner(struct parser *p, const char *name, unsigned depth, char end)
{
	g_autofree char *prefix = g_strconcat(name, ".", NULL);

	p->at++;
	if (depth >= MAX_DEPTH)
		return fail(p, "JSON nesting depth limit exceeded");
	if (take(p, end)) {
		g_autofree char *reason = g_strdup_printf("'%s' is empty", name);

		return fail(p, reason);
	}
	return end == '}' ? parse_members(p, prefix, depth + 1)
			  : parse_elements(p, prefix, depth + 1);
}

static bool parse_value(struct parser *p, const char *name, unsigned depth)
{
	g_autofree char *string = NULL;

	skip_blanks(p);
	switch (*p->at) {
	case '{':
		return parse_inner(p, name, depth, '}');
	case '[':
		return parse_inner(p, name, depth, ']');
	case '"':
	case '\'':
		string = take_string(p);
		return string && add(p, name, NODE_VALUE_STRING, string);
	case '-':
	case '0' ... '9':
		return parse_number(p, name);
	default:
		return parse_word(p, name);
	}
}

static bool parse_text(struct parser *p, const char *text)
{
	if (strlen(text) > MAX_TEXT)
		return fail(p, "the text is too long");
	if (!g_utf8_validate(text, -1, NULL))
		return fail(p, "JSON parse error, invalid UTF-8");
	if (!take(p, '{')) {
		error_refuse(p->err, -EINVAL, "Invalid JSON object given");
		return false;
	}
	if (!take(p, '}') && !parse_members(p, "", 1))
		return false;
	skip_blanks(p);
	return !*p->at || fail(p, "Expecting at most one JSON value");
}

struct node_options *node_options_from_json(const char *text, const char *prefix, GError **err)
{
	struct parser p = {
		.at = text, .options = node_options_new(), .prefix = prefix, .err = err
	};

	if (parse_text(&p, text))
		return p.options;
	node_options_free(p.options);
	return NULL;
}
