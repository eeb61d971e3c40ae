// SPDX-License-Identifier: GPL-2.0-or-later
/* Options of nodes: the list of values, and how it is checked; see node_options.h. */
#include "node_options.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "json_string.h"
#include "values.h"

#define MAX_JSON_DEPTH 16

/* Lists are short: NODE_OPTIONS_MAX bounds every search. */
struct node_options {
	GPtrArray *values; /* struct node_value */
	bool is_cut;	   /* some did not fit: no node may be opened with the rest */
};

/* ---- one value ---- */

static void free_value(void *arg)
{
	struct node_value *value = arg;

	g_free(value->name);
	g_free(value->text);
	if (value->named_by)
		g_ref_string_release(value->named_by);
	g_free(value);
}

static struct node_value *copy_value(const struct node_value *value, const char *prefix,
				     const char *name)
{
	struct node_value *copy = g_new0(struct node_value, 1);

	copy->name = g_strconcat(prefix, name, NULL);
	copy->text = g_strdup(value->text);
	copy->type = value->type;
	copy->named_by = value->named_by ? g_ref_string_acquire(value->named_by) : NULL;
	return copy;
}

/* ---- the list ---- */

struct node_options *node_options_new(void)
{
	struct node_options *options = g_new0(struct node_options, 1);

	options->values = g_ptr_array_new_with_free_func(free_value);
	return options;
}

void node_options_free(struct node_options *options)
{
	if (options)
		g_ptr_array_unref(options->values);
	g_free(options);
}

struct node_options *node_options_copy(const struct node_options *options)
{
	struct node_options *copy = node_options_new();

	node_options_add_missing(copy, options);
	return copy;
}

const struct node_value *node_options_at(const struct node_options *options, unsigned i)
{
	return i < options->values->len ? options->values->pdata[i] : NULL;
}

static struct node_value *find(const struct node_options *options, const char *name)
{
	for (unsigned i = 0; options && i < options->values->len; i++) {
		struct node_value *value = options->values->pdata[i];

		if (strcmp(value->name, name) == 0)
			return value;
	}
	return NULL;
}

const struct node_value *node_options_find(const struct node_options *options, const char *name)
{
	return find(options, name);
}

const char *node_options_text(const struct node_options *options, const char *name)
{
	const struct node_value *value = find(options, name);

	return value && value->type == NODE_VALUE_STRING ? value->text : NULL;
}

static bool add(struct node_options *options, struct node_value *value)
{
	if (options->values->len >= NODE_OPTIONS_MAX) {
		options->is_cut = true;
		free_value(value);
		return false;
	}
	g_ptr_array_add(options->values, value);
	return true;
}

bool node_options_set(struct node_options *options, const char *name, enum node_value_type type,
		      const char *text)
{
	const struct node_value value = { .text = (char *)text, .type = type };

	node_options_drop(options, name);
	return add(options, copy_value(&value, "", name));
}

void node_options_drop(struct node_options *options, const char *name)
{
	struct node_value *value = find(options, name);

	if (value)
		g_ptr_array_remove(options->values, value);
}

/* What follows "CHILD." in a name; NULL if the name does not belong to that child. */
static const char *name_in_child(const struct node_value *value, const char *child)
{
	size_t len = strlen(child);

	return strncmp(value->name, child, len) == 0 && value->name[len] == '.'
		       ? value->name + len + 1
		       : NULL;
}

bool node_options_has_child(const struct node_options *options, const char *child)
{
	for (unsigned i = 0; i < options->values->len; i++)
		if (name_in_child(options->values->pdata[i], child))
			return true;
	return false;
}

struct node_options *node_options_take_child(struct node_options *options, const char *child)
{
	struct node_options *taken = node_options_new();
	unsigned i = 0;

	taken->is_cut = options->is_cut;
	while (i < options->values->len) {
		const struct node_value *value = options->values->pdata[i];
		const char *name = name_in_child(value, child);

		if (!name) {
			i++;
			continue;
		}
		add(taken, copy_value(value, "", name));
		g_ptr_array_remove_index(options->values, i);
	}
	return taken;
}

void node_options_put_child(struct node_options *options, const char *child,
			    struct node_options *child_options)
{
	g_autofree char *prefix = g_strconcat(child, ".", NULL);

	for (unsigned i = 0; i < child_options->values->len; i++) {
		const struct node_value *value = child_options->values->pdata[i];

		add(options, copy_value(value, prefix, value->name));
	}
	options->is_cut |= child_options->is_cut;
	node_options_free(child_options);
}

void node_options_add_prefix(struct node_options *options, const char *prefix)
{
	for (unsigned i = 0; i < options->values->len; i++) {
		struct node_value *value = options->values->pdata[i];
		char *name = g_strconcat(prefix, value->name, NULL);

		g_free(value->name);
		value->name = name;
	}
}

void node_options_add_missing(struct node_options *options, const struct node_options *others)
{
	for (unsigned i = 0; i < others->values->len; i++) {
		const struct node_value *value = others->values->pdata[i];

		if (!find(options, value->name))
			add(options, copy_value(value, "", value->name));
	}
	options->is_cut |= others->is_cut;
}

void node_options_set_named_by(struct node_options *options, const char *image)
{
	g_autoptr(GRefString) name = g_ref_string_new(image);

	for (unsigned i = 0; i < options->values->len; i++) {
		struct node_value *value = options->values->pdata[i];

		if (value->named_by)
			g_ref_string_release(value->named_by);
		value->named_by = g_ref_string_acquire(name);
	}
}

/* ---- as JSON ---- */

static void append_member(GString *json, const char *name)
{
	if (json->str[json->len - 1] != '{')
		g_string_append(json, ", ");
	json_append_string(json, name);
	g_string_append(json, ": ");
}

static void append_value(GString *json, const struct node_value *value)
{
	append_member(json, value->name);
	if (value->type == NODE_VALUE_STRING)
		json_append_string(json, value->text);
	else
		g_string_append(json, value->type == NODE_VALUE_NULL ? "null" : value->text);
}

/*
 * Splits the list. A name may have any number of dots, but each level is a string that is shorter,
 * and a list is not longer than its text.
 */
static void append_object(GString *json, struct node_options *options, unsigned depth)
{
	unsigned i = 0;

	g_string_append_c(json, '{');
	while (i < options->values->len) {
		const struct node_value *value = options->values->pdata[i];
		const char *dot = strchr(value->name, '.');
		g_autofree char *child = dot ? g_strndup(value->name, dot - value->name) : NULL;

		/* Such a name stays dotted: it means the same. */
		if (!child || depth >= MAX_JSON_DEPTH || find(options, child)) {
			append_value(json, value);
			i++;
		} else {
			struct node_options *below = node_options_take_child(options, child);

			append_member(json, child);
			append_object(json, below, depth + 1);
			node_options_free(below);
		}
	}
	g_string_append_c(json, '}');
}

char *node_options_to_json(const struct node_options *options)
{
	struct node_options *rest = node_options_copy(options);
	GString *json = g_string_new(NULL);

	append_object(json, rest, 0);
	node_options_free(rest);
	return g_string_free(json, FALSE);
}

/* ---- tables ---- */

static const char *const discard_choices[] = { "ignore", "off", "unmap", "on", NULL };

static const char *const detect_zeroes_choices[] = { "off", "on", "unmap", NULL };

const struct node_option node_common_options[] = {
	{
		.name = "driver",
		.type = NODE_OPTION_STRING,
		.help = "What the node is: a format or a protocol (default for a format: probed)",
		.is_place = true,
	},
	{
		.name = "node-name",
		.type = NODE_OPTION_STRING,
		.help = "Its name",
		.is_place = true,
	},
	{
		.name = "read-only",
		.type = NODE_OPTION_BOOL,
		.help = "Do not write to it",
		.can_change = true,
	},
	{
		.name = "auto-read-only",
		.type = NODE_OPTION_BOOL,
		.default_value = "off",
		.help = "Open it read-only where writing is not permitted",
		.can_change = true,
	},
	{
		.name = "force-share",
		.type = NODE_OPTION_BOOL,
		.default_value = "off",
		.help = "Open it even if another program is writing to it",
	},
	{
		.name = "discard",
		.type = NODE_OPTION_CHOICE,
		.help = "Discards: ignore (or off), or unmap (or on)",
		.choices = discard_choices,
		.can_change = true,
	},
	{
		.name = "detect-zeroes",
		.type = NODE_OPTION_CHOICE,
		.default_value = "off",
		.help = "Write zeroes efficiently: off, on, or unmap, which may also free space",
		.choices = detect_zeroes_choices,
		.can_change = true,
	},
	{
		.name = "cache.direct",
		.type = NODE_OPTION_BOOL,
		.default_value = "off",
		.help = "Bypass the host's page cache",
		.can_change = true,
	},
	{
		.name = "cache.no-flush",
		.type = NODE_OPTION_BOOL,
		.default_value = "off",
		.help = "Ignore flushes",
		.can_change = true,
	},
	{},
};

bool node_option_is_named(const struct node_option *option, const char *name)
{
	size_t len = strlen(option->name);

	if (len && option->name[len - 1] == '*')
		return strncmp(option->name, name, len - 1) == 0;
	return strcmp(option->name, name) == 0;
}

static const struct node_option *find_in(const struct node_option *table, const char *name)
{
	for (; table && table->name; table++)
		if (node_option_is_named(table, name))
			return table;
	return NULL;
}

const struct node_option *node_option_find(const struct node_option *table, const char *name)
{
	return find_in(table, name) ?: find_in(node_common_options, name);
}

static int unknown_option(const char *driver, bool is_format, const char *name, GError **err)
{
	/* In QEMU's words, which are not the same for both. */
	return error_refuse(err, -EINVAL,
			    is_format ? "Block format '%s' does not support the option '%s'"
				      : "Block protocol '%s' doesn't support the option '%s'",
			    driver, name);
}

static bool parse_size(const struct node_value *value, uint64_t *ret_bytes)
{
	return value->type <= NODE_VALUE_NUMBER && size_parse(value->text, ret_bytes) == 0;
}

static bool parse_number(const struct node_value *value, uint64_t *ret_number)
{
	return !value->text[strspn(value->text, "0123456789")] && parse_size(value, ret_number);
}

static bool parse_bool(const struct node_value *value, bool *ret_on)
{
	return value->type != NODE_VALUE_NUMBER && bool_parse(value->text, ret_on);
}

/* In QEMU's words, which do not say what the choices are. */
static int check_choice(const struct node_value *value, const struct node_option *option,
			GError **err)
{
	if (g_strv_contains(option->choices, value->text))
		return 0;
	if (strcmp(value->name, "discard") == 0)
		return error_refuse(err, -EINVAL, "Invalid discard option");
	return error_refuse(err, -EINVAL, "invalid parameter value: %s", value->text);
}

static int check_value(const struct node_value *value, const struct node_option *option,
		       GError **err)
{
	uint64_t number;
	bool on;

	switch (option->type) {
	case NODE_OPTION_BOOL:
		if (parse_bool(value, &on))
			return 0;
		return error_refuse(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'",
				    value->name);
	case NODE_OPTION_SIZE:
		if (parse_size(value, &number))
			return 0;
		return error_refuse(err, -EINVAL,
				    "Parameter '%s' expects a non-negative number below 2^64. "
				    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
				    "tera-, peta- and exabytes, respectively.",
				    value->name);
	case NODE_OPTION_NUMBER:
		if (parse_number(value, &number))
			return 0;
		return error_refuse(err, -EINVAL, "Parameter '%s' expects a number", value->name);
	case NODE_OPTION_CHOICE:
		return check_choice(value, option, err);
	case NODE_OPTION_ANY:
		return 0;
	case NODE_OPTION_STRING:
		break;
	}
	if (value->type == NODE_VALUE_STRING)
		return 0;
	return error_refuse(err, -EINVAL, "Parameter '%s' expects a string", value->name);
}

static int check_option(const struct node_value *value, const struct node_option *option,
			const char *driver, bool places_only, GError **err)
{
	/* As if the option were not there. */
	if (value->type == NODE_VALUE_NULL)
		return 0;
	if (option->refusal)
		return error_refuse(err, -ENOTSUP, "driver '%s': option '%s' is not supported: %s",
				    driver, value->name, option->refusal);
	if (places_only && value->named_by && !option->is_place)
		return error_refuse(err, -EPERM,
				    "driver '%s': option '%s' may be given by the user, but not "
				    "by an image (%s)",
				    driver, value->name, value->named_by);
	return check_value(value, option, err);
}

int node_options_check_count(const struct node_options *options, GError **err)
{
	if (!options->is_cut)
		return 0;
	return error_refuse(err, -EINVAL, "more than %d options", NODE_OPTIONS_MAX);
}

int node_options_check(const struct node_options *options, const char *driver, bool is_format,
		       const struct node_option *table, bool places_only, GError **err)
{
	if (node_options_check_count(options, err))
		return -EINVAL;
	for (unsigned i = 0; i < options->values->len; i++) {
		const struct node_value *value = options->values->pdata[i];
		const struct node_option *option = node_option_find(table, value->name);
		int ret = option ? check_option(value, option, driver, places_only, err)
				 : unknown_option(driver, is_format, value->name, err);

		if (ret)
			return ret;
	}
	return 0;
}

int node_options_check_common(const struct node_options *options, GError **err)
{
	int ret = 0;

	for (const struct node_option *option = node_common_options; !ret && option->name;
	     option++) {
		const struct node_value *value = find(options, option->name);

		if (value && value->type != NODE_VALUE_NULL)
			ret = check_value(value, option, err);
	}
	return ret;
}

bool node_options_bool(const struct node_options *options, const char *name, bool otherwise)
{
	const struct node_value *value = find(options, name);
	bool on = otherwise;

	if (value && value->type != NODE_VALUE_NULL && !parse_bool(value, &on))
		g_assert_not_reached();
	return on;
}

uint64_t node_options_number(const struct node_options *options, const char *name,
			     uint64_t otherwise)
{
	const struct node_value *value = find(options, name);
	uint64_t number = otherwise;

	/* Every number is also a size: only sizes may have a suffix. */
	if (value && value->type != NODE_VALUE_NULL && !parse_size(value, &number))
		g_assert_not_reached();
	return number;
}
