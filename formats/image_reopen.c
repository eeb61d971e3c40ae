// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: which options can be changed by opening an image again. Those that say which file
 * and format it is cannot; values that stay as they are can always be given.
 */
#include <errno.h>
#include <string.h>

#include "image_int.h"
#include "node_name.h"

static const struct node_option *table_of(const struct image *img)
{
	return img->file ? img->format->options : img->bottom->options;
}

/* What the node has now, whether it was asked for or is a fact. */
static const char *current_value(const struct image *img, const char *name)
{
	const struct node_value *value =
		img->options ? node_options_find(img->options, name) : NULL;

	if (!value && strcmp(name, "driver") == 0)
		return img->ops->name;
	return value ? value->text : NULL;
}

static int check_value(const struct image *img, const struct node_value *value, GError **err)
{
	const struct node_option *option = node_option_find(table_of(img), value->name);

	if (strcmp(value->name, "backing") == 0)
		return error_refuse(err, -EINVAL, "Cannot find device='' nor node-name='%s'",
				    value->text);
	if ((option && option->can_change) ||
	    g_strcmp0(current_value(img, value->name), value->text) == 0)
		return 0;
	return error_refuse(err, -EINVAL, "Cannot change the option '%s'", value->name);
}

static int check_node(const struct image *img, struct node_options *changes, GError **err);

/* Checks and drops what @changes has for a node below. */
static int check_child(const struct image *child, const char *name, struct node_options *changes,
		       GError **err)
{
	struct node_options *below;
	int ret;

	if (!child || !node_options_has_child(changes, name))
		return 0;
	below = node_options_take_child(changes, name);
	ret = check_node(child, below, err);
	node_options_free(below);
	return ret;
}

static int check_node(const struct image *img, struct node_options *changes, GError **err)
{
	const struct node_value *value;
	int ret = check_child(img->file, node_child_name(img->ops->name), changes, err) ?:
		  check_child(img->data_file, img->format->second_child, changes, err) ?:
		  check_child(img->backing, "backing", changes, err);

	for (unsigned i = 0; !ret && (value = node_options_at(changes, i)); i++)
		ret = check_value(img, value, err);
	return ret;
}

char *image_name_for_reopen(const struct image *img, const char *name, const char *changes,
			    GError **err)
{
	struct node_options *options = node_name_parse_list(changes, err), *rest;
	int ret;

	if (!options)
		return NULL;
	rest = node_options_copy(options);
	ret = check_node(img, rest, err);
	node_options_free(rest);
	node_options_free(options);
	return ret ? NULL : image_name_from_options(changes, name, err);
}
