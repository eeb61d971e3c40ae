// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of graphs; see node_name.h. */
#include "node_name.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "node_json.h"
#include "option_list.h"

#define JSON_PREFIX "json:"

bool node_name_is_identifier(const char *text)
{
	return g_ascii_isalpha(*text) &&
	       !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-._")];
}

bool node_name_is_json(const char *name)
{
	return g_str_has_prefix(name, JSON_PREFIX);
}

struct node_options *node_name_parse(const char *name, GError **err)
{
	return node_options_from_json(name + strlen(JSON_PREFIX),
				      "Could not parse the JSON options: ", err);
}

char *node_name_make(const struct node_options *options)
{
	g_autofree char *json = node_options_to_json(options);

	return g_strconcat(JSON_PREFIX, json, NULL);
}

const char *node_child_name(const char *driver)
{
	if (g_strcmp0(driver, "blkdebug") == 0)
		return "image";
	return g_strcmp0(driver, "blkverify") == 0 ? "test" : "file";
}

/* ---- option lists ---- */

/* Adds one part of a list: "name=value"; "name" and "noname" mean on and off. */
static int add_part(struct node_options *options, char *part, bool is_first, GError **err)
{
	char *value = strchr(part, '=');
	const char *name = part;

	if (value) {
		*value++ = '\0';
	} else if (is_first) {
		/* A name alone would be the name of a node. */
		value = part;
		name = "file";
	} else if (g_str_has_prefix(part, "no")) {
		value = "off";
		name += 2;
	} else {
		value = "on";
	}
	if (strcmp(name, "id") == 0 && !node_name_is_identifier(value))
		return error_refuse(err, -EINVAL,
				    "Parameter 'id' expects an identifier: letters, digits, '-', "
				    "'.', '_', starting with a letter");
	if (!node_options_set(options, name, NODE_VALUE_STRING, value))
		return error_refuse(err, -EINVAL, "too many options");
	return 0;
}

struct node_options *node_name_parse_list(const char *list, GError **err)
{
	struct node_options *options = node_options_new();
	bool is_first = true;
	int ret = 0;

	while (!ret && list && *list) {
		g_autofree char *part = option_list_next(&list);

		ret = add_part(options, part, is_first, err);
		is_first = false;
	}
	if (!ret)
		return options;
	node_options_free(options);
	return NULL;
}
