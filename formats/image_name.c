// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: their names. */
#include <string.h>

#include "image_int.h"
#include "node_name.h"

static const struct node_option *options_of(const struct image *img)
{
	return img->file ? img->format->options : img->bottom->options;
}

static void add_options(const struct image *img, int place, struct node_options *to)
{
	const struct node_option *option = options_of(img);

	const struct node_value *value;

	for (; option && option->name; option++) {
		if ((int)option->in_name != place)
			continue;
		for (unsigned i = 0; (value = node_options_at(img->options, i)); i++)
			if (node_option_is_named(option, value->name))
				node_options_set(to, value->name, value->type, value->text);
	}
}

/* All options that decide what is read from it. */
static struct node_options *full_options(const struct image *img)
{
	struct node_options *full = node_options_new();

	if (!img->file && img->options) {
		add_options(img, NODE_OPTION_FIRST_IN_NAME, full);
		node_options_set(full, "driver", NODE_VALUE_STRING,
				 node_options_text(img->options, "driver") ?: img->ops->name);
		add_options(img, NODE_OPTION_IN_NAME, full);
	} else if (!img->file) {
		/* A node that a test made. */
		node_options_set(full, "driver", NODE_VALUE_STRING, img->ops->name);
		node_options_set(full, "filename", NODE_VALUE_STRING, img->filename);
	} else {
		/* QEMU's order: what stands below a protocol comes first. */
		if (img->format->is_protocol)
			node_options_put_child(full, node_child_name(img->ops->name),
					       full_options(img->file));
		add_options(img, NODE_OPTION_FIRST_IN_NAME, full);
		node_options_set(full, "driver", NODE_VALUE_STRING, img->ops->name);
		add_options(img, NODE_OPTION_IN_NAME, full);
		if (img->format->is_protocol && img->data_file)
			node_options_put_child(full, img->format->second_child,
					       full_options(img->data_file));
		if (!img->format->is_protocol)
			node_options_put_child(full, node_child_name(img->ops->name),
					       full_options(img->file));
		if (img->backing_options)
			node_options_put_child(full, "backing",
					       node_options_copy(img->backing_options));
	}
	return full;
}

/* Whether the file's name leads to the same node, if the format is known. */
static bool is_plain(const struct image *img)
{
	const struct node_option *option = options_of(img);

	const struct image *file = img->file;

	for (; option && option->name; option++)
		if (option->in_name && node_options_find(img->options, option->name))
			return false;
	return (!file->file || file->format->make_name) && !node_name_is_json(file->filename) &&
	       !img->backing_options;
}

char *image_make_name(const struct image *img)
{
	struct node_options *full;
	char *name = img->format->make_name ? img->format->make_name(img) : NULL;

	if (name)
		return name;
	if (!img->format->make_name && is_plain(img))
		return g_strdup(img->file->filename);
	full = full_options(img->bare_driver ? img->file : img);
	name = node_name_make(full);
	node_options_free(full);
	return name;
}

const char *image_bottom_name(const struct image *img)
{
	while (img->file)
		img = img->file;
	return img->filename;
}
