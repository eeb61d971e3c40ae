// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: opens the graph of nodes that a name describes: each format on what is below it, and
 * down the chain of backing files. Options that no node has taken are refused.
 */
#include <errno.h>

#include "foreign.h"
#include "image_chain.h"
#include "image_int.h"
#include "image_shared.h"
#include "node_name.h"
#include "probe.h"

/* Limit of nodes in a graph: each may come from an image that says where the next one is. */
#define MAX_NODES 1024
/* Limit of formats on formats, which call each other on the stack of a coroutine. */
#define MAX_DEPTH 8

/* ---- one image ---- */

static const struct format_ops *format_named(const char *name)
{
	return foreign_find(name) ?: image_find_format(name, NULL);
}

static int co_probe(struct image *file, const struct format_ops **ret_ops, GError **err)
{
	uint64_t size = image_size(file);
	const char *format = NULL;
	uint8_t buf[MAX(PROBE_HEAD_BYTES, PROBE_TAIL_BYTES)];
	int ret = image_co_pread(file, 0, PROBE_HEAD_BYTES, buf);

	if (!ret)
		format = probe_head(buf, MIN(PROBE_HEAD_BYTES, size));
	if (!ret && !format && size >= PROBE_TAIL_BYTES) {
		ret = image_co_pread(file, size - PROBE_TAIL_BYTES, PROBE_TAIL_BYTES, buf);
		format = ret ? NULL : probe_tail(buf);
	}
	if (!ret)
		*ret_ops = format ? format_named(format) : image_headerless_format();
	else
		error_set(err, ret,
			  "Could not open '%s': Could not read image for determining its format",
			  file->filename);
	return ret;
}

/*
 * A file that is said to have a foreign format must have it: nothing else of its header is checked.
 */
static int co_check_foreign(struct image *file, const struct format_ops *ops, GError **err)
{
	const struct format_ops *found;
	int ret = co_probe(file, &found, err);

	if (ret || found == ops)
		return ret;
	return error_refuse(err, -EINVAL, "Could not open '%s': Image is not in %s format",
			    file->filename, ops->io.name);
}

/*
 * Locks the bottom, if it has locks; and the nodes on it learn how far the file has grown until
 * now.
 */
static int co_keep_writers_out(struct image *node, GError **err)
{
	const struct image *end = node;
	int ret;

	while (end->file)
		end = end->file;
	if (!end->bottom->co_keep_writers_out)
		return 0;
	ret = node->file ? co_keep_writers_out(node->file, err)
			 : node->bottom->co_keep_writers_out(node, err);
	if (ret || !node->ops->co_refresh_size)
		return ret;
	ret = node->ops->co_refresh_size(node);
	if (!ret || ret == -ENOTSUP)
		return 0;
	return error_set(err, ret, "Could not open '%s'", node->filename);
}

/* ---- nodes ---- */

/* A graph while it is being opened. */
struct graph {
	const struct image_policy *policy;
	struct image_memory *memory;
	uint64_t cache_bytes, memory_limit; /* that the caller has asked for */
	struct image_shared *shared;	    /* NULL: nothing is */
	struct image_opener opener;	    /* for @shared */
	bool is_opener;			    /* its chain is being opened */
	unsigned nodes;			    /* so far */
	GPtrArray *names;		    /* of those that have one */
};

static int co_open_below(struct graph *graph, const struct node_options *options,
			 const struct image_open_opts *opts, unsigned depth, struct image **ret_img,
			 GError **err);

/* A child given as the name of a node: this program has no other nodes. */
static int refuse_reference(const struct node_options *options, const char *child, GError **err)
{
	const struct node_value *value = node_options_find(options, child);

	if (!value || value->type == NODE_VALUE_NULL)
		return 0;
	return error_refuse(err, -EINVAL, "Cannot find device='%s' nor node-name='%s'", value->text,
			    value->text);
}

/* Takes the options given for the backing file, which replace what the image names. */
static int take_backing_options(struct image *img, GError **err)
{
	const struct node_value *value = node_options_find(img->options, "backing");

	img->backing_unwanted = value && (value->type == NODE_VALUE_NULL || !*value->text);
	if (img->format->no_backing &&
	    ((value && !img->backing_unwanted) || node_options_has_child(img->options, "backing")))
		return error_refuse(err, -EINVAL, "Driver doesn't support backing files");
	if (!img->backing_unwanted && refuse_reference(img->options, "backing", err))
		return -EINVAL;
	node_options_drop(img->options, "backing");
	if (!(img->flags & IMAGE_NO_BACKING) && node_options_has_child(img->options, "backing"))
		img->backing_options = node_options_take_child(img->options, "backing");
	return 0;
}

/*
 * A second child that is in the same file as the first one has its lock, if the file is the disk:
 * otherwise they must not both write to it.
 */
static unsigned second_child_flags(const struct image *img, const struct node_options *options)
{
	unsigned flags = img->flags & ~IMAGE_NO_DATA_FILE;
	struct file_id id;

	if (!img->format->is_filter || !image_is_headerless(image_below_filters(img->file)))
		return flags;
	id = image_co_options_file_id(options);
	return image_chain_has_file(img->file, &id) ? flags | IMAGE_FORCE_SHARE : flags;
}

static int co_take_data_file(struct graph *graph, struct image *img, struct image_open_opts *opts,
			     unsigned depth, GError **err)
{
	const char *child = img->format->second_child;
	struct image_open_opts second = { .is_data_file = true };
	struct node_options *options;
	int ret;

	if (!child)
		return 0;
	if (refuse_reference(img->options, child, err))
		return -EINVAL;
	node_options_drop(img->options, child);
	if (!node_options_has_child(img->options, child))
		return 0;
	options = node_options_take_child(img->options, child);
	second.flags = second_child_flags(img, options);
	/* For a filter it is not optional. */
	ret = img->flags & IMAGE_NO_DATA_FILE && !img->format->is_protocol
		      ? 0
		      : co_open_below(graph, options, &second, depth + 1, &opts->data_file, err);
	node_options_free(options);
	return ret;
}

static int co_find_ops(struct image *file, const struct image_open_opts *opts,
		       const struct format_ops **ret_ops, GError **err)
{
	const struct format_ops *ops = NULL;
	int ret = 0;

	if (opts->format) {
		if (opts->flags & IMAGE_INFO_ONLY)
			ops = foreign_find(opts->format);
		ret = ops ? co_check_foreign(file, ops, err) : 0;
		ops = ops ?: image_find_format(opts->format, err);
		if (!ops) {
			g_prefix_error(err, "Could not open '%s': ", file->filename);
			ret = -EINVAL;
		}
	} else {
		ret = co_probe(file, &ops, err);
		if (!ret && ops->info_only && !(opts->flags & IMAGE_INFO_ONLY))
			ret = foreign_refuse(ops, file->filename, err);
	}
	if (!ret && opts->data_file && !ops->second_child)
		ret = error_refuse(
			err, -EINVAL,
			"Could not open '%s': format %s does not support external data files",
			file->filename, ops->io.name);
	*ret_ops = ops;
	return ret;
}

/* Opens the node itself, which already has its options. On failure, opts->data_file is closed. */
static int co_open_node(struct graph *graph, struct image *img, struct image_open_opts *opts,
			unsigned depth, GError **err)
{
	bool places_only = graph->policy && graph->policy->places_only;
	int ret = take_backing_options(img, err) ?: co_take_data_file(graph, img, opts, depth, err);

	ret = ret
		      ?: node_options_check(img->options, img->ops->name, !img->format->is_protocol,
					    img->format->options, places_only, err);
	if (!ret && opts->flags & IMAGE_BEAR_WRITERS && !img->format->bears_writers)
		ret = co_keep_writers_out(img->file, err);
	if (ret) {
		image_co_close(opts->data_file);
		return ret;
	}
	g_free(img->filename);
	img->filename = image_make_name(img);
	opts->node = img->options;
	return image_node_co_open(img, opts, err);
}

/* Makes a format node on @file, which it owns from now on, even on failure. */
static int co_open_format(struct graph *graph, struct image *file,
			  const struct node_options *options, const struct image_open_opts *opts,
			  unsigned depth, struct image **ret_img, GError **err)
{
	struct image_open_opts node_opts = *opts;
	const struct format_ops *ops;
	struct image *img;
	int ret = co_find_ops(file, opts, &ops, err);

	if (ret) {
		image_co_close(opts->data_file);
		image_co_close(file);
		return ret;
	}
	img = image_node_new_format(ops, file, opts->flags & ~IMAGE_BEAR_WRITERS);
	img->memory = image_memory_ref(graph->memory);
	img->options = node_options_copy(options);
	img->was_probed = !opts->format;
	img->bare_driver = opts->bare_driver;
	ret = co_open_node(graph, img, &node_opts, depth, err);
	if (ret) {
		image_node_free(img);
		image_co_close(file);
		return ret;
	}
	*ret_img = img;
	return 0;
}

/* Called when a node is about to be opened. */
static int add_node(struct graph *graph, const struct node_options *options, unsigned depth,
		    GError **err)
{
	const char *name = node_options_text(options, "node-name");

	if (++graph->nodes > MAX_NODES || depth > MAX_DEPTH)
		return error_refuse(err, -ELOOP, "the graph has more than %u nodes, or %u levels",
				    MAX_NODES, MAX_DEPTH);
	if (name && !node_name_is_identifier(name))
		return error_refuse(err, -EINVAL, "Invalid node-name: '%s'", name);
	if (name && g_ptr_array_find_with_equal_func(graph->names, name, g_str_equal, NULL))
		return error_refuse(err, -EINVAL, "Duplicate nodes with node-name='%s'", name);
	if (name)
		g_ptr_array_add(graph->names, g_strdup(name));
	return 0;
}

static void graph_init(struct graph *graph, const struct image_open_opts *opts)
{
	*graph = (struct graph){
		.policy = opts->policy,
		.cache_bytes = opts->cache_bytes,
		.memory_limit = opts->memory_limit,
		.shared = opts->shared,
		.memory = opts->backing ? image_memory_ref(opts->backing->memory)
					: image_memory_new(opts->memory_limit),
		.names = g_ptr_array_new_with_free_func(g_free),
	};
}

static void graph_destroy(struct graph *graph)
{
	g_ptr_array_unref(graph->names);
	image_memory_unref(graph->memory);
}

static unsigned file_flags(unsigned flags)
{
	/* These are for the image itself. */
	unsigned below = flags & ~(IMAGE_FOR_REPAIR | IMAGE_INFO_ONLY | IMAGE_NO_BACKING |
				   IMAGE_NO_DATA_FILE);

	/* The format decides what is passed on, unless the file's own options do. */
	return flags & IMAGE_FOR_REPAIR ? below | IMAGE_RDWR | IMAGE_UNMAP : below | IMAGE_UNMAP;
}

/*
 * The options of the node below a format; the caller frees them. A bottom used as an image is raw:
 * its contents are the disk.
 */
static struct node_options *take_file_options(struct node_options *options,
					      const char **ret_bare_driver, GError **err)
{
	const char *driver = node_options_text(options, "driver");
	const char *child = node_child_name(driver);
	struct node_options *file;

	*ret_bare_driver = image_bottom_driver(driver);
	if (*ret_bare_driver) {
		file = node_options_copy(options);
		while (node_options_at(options, 0))
			node_options_drop(options, node_options_at(options, 0)->name);
		node_options_set(options, "driver", NODE_VALUE_STRING,
				 image_headerless_format()->io.name);
		return file;
	}
	if (refuse_reference(options, child, err))
		return NULL;
	node_options_drop(options, child);
	if (node_options_has_child(options, child))
		return node_options_take_child(options, child);
	/* A mistyped list would silently select another driver. */
	if (driver && !image_find_format(driver, err))
		return NULL;
	if (driver)
		error_refuse(err, -EINVAL, "A block device must be specified for \"%s\"", child);
	else
		error_refuse(err, -EINVAL, "Must specify either driver or file");
	return NULL;
}

bool image_is_write_refusal(int error)
{
	return error == -EACCES || error == -EPERM || error == -EROFS;
}

/* Opens the node below a format with @options; makes @opts read-only if that is an option. */
static int co_open_file(struct graph *graph, const struct node_options *options,
			const struct node_options *below, struct image_open_opts *opts,
			unsigned depth, struct image **ret_file, GError **err)
{
	struct image_open_opts file_opts = {
		.flags = file_flags(opts->flags),
		.is_data_file = opts->is_data_file,
		.co_claim = opts->co_claim,
		.claim_arg = opts->claim_arg,
	};
	unsigned nodes = graph->nodes, names = graph->names->len;
	GError *reason = NULL;
	int ret = co_open_below(graph, below, &file_opts, depth, ret_file, &reason);

	if (image_is_write_refusal(ret) && opts->flags & IMAGE_RDWR &&
	    node_options_bool(options, "auto-read-only", false)) {
		g_clear_error(&reason);
		graph->nodes = nodes;
		g_ptr_array_set_size(graph->names, names);
		opts->flags &= ~(IMAGE_RDWR | IMAGE_UNMAP);
		file_opts.flags = file_flags(opts->flags);
		ret = co_open_below(graph, below, &file_opts, depth, ret_file, &reason);
	}
	if (ret)
		g_propagate_error(err, reason);
	return ret;
}

/* An image from a stranger must not be able to ask for nodes that only a user has a use for. */
static int check_driver(const struct graph *graph, const struct node_options *options, GError **err)
{
	const struct node_value *driver = node_options_find(options, "driver");
	const struct format_ops *ops =
		driver && driver->named_by ? image_find_format(driver->text, NULL) : NULL;

	if (!ops || !ops->for_users || !graph->policy || !graph->policy->places_only)
		return 0;
	return error_refuse(err, -EPERM,
			    "driver '%s' may be given by the user, but not by an image (%s)",
			    driver->text, driver->named_by);
}

static char *make_key(const struct graph *graph, const struct node_options *options,
		      const struct node_options *below, unsigned flags)
{
	const struct image_open_opts opts = {
		.flags = flags,
		.policy = graph->policy,
		.cache_bytes = graph->cache_bytes,
		.memory_limit = graph->memory_limit,
	};

	return image_share_key(options, below, &opts);
}

/* Takes the layer on @file that others have opened, and closes @file; false: there is none. */
static bool co_find_shared(struct graph *graph, const char *key, struct image *file,
			   struct image **ret_img, int *ret, GError **err)
{
	struct image *img = image_shared_co_find(graph->shared, &graph->opener, key, file);

	if (!img)
		return false;
	*ret = image_co_close(file);
	if (*ret) {
		error_set(err, *ret, "Could not close '%s'", img->filename);
		/* Nobody else may have it any more. */
		image_co_close(img);
	} else {
		*ret_img = img;
	}
	return true;
}

/* Opens a format and all nodes below it, but not its backing file. @options are used up. */
static int co_open_layer(struct graph *graph, struct node_options *options,
			 const struct image_open_opts *opts, unsigned depth, struct image **ret_img,
			 GError **err)
{
	struct image_open_opts node_opts = *opts;
	struct node_options *below = take_file_options(options, &node_opts.bare_driver, err);
	struct image *file;
	int ret = below ? add_node(graph, options, depth, err) : -EINVAL;

	ret = ret ?: check_driver(graph, options, err);
	ret = ret ?: node_flags_apply(options, &node_opts.flags, err);
	if (!ret && opts->share)
		*opts->share = make_key(graph, options, below, node_opts.flags);
	ret = ret ?: co_open_file(graph, options, below, &node_opts, depth + 1, &file, err);
	node_options_free(below);
	if (ret) {
		image_co_close(opts->data_file);
		return ret;
	}
	if (opts->share && co_find_shared(graph, *opts->share, file, ret_img, &ret, err))
		return ret;
	node_opts.format = node_options_text(options, "driver");
	return co_open_format(graph, file, options, &node_opts, depth, ret_img, err);
}

/* ---- the chain ---- */

/* Adds what the image says about its backing file where the user says nothing. */
static int add_named_backing(const struct image *layer, struct node_options *options,
			     char **ret_name, GError **err)
{
	const char *image = image_bottom_name(layer);

	*ret_name = image_resolve_backing(image, layer->backing_filename);
	return image_add_name(options, *ret_name, image, err);
}

/* The options of the backing file, and its name for messages; the caller frees both. */
static struct node_options *backing_options(const struct image *layer, char **ret_name,
					    GError **err)
{
	struct node_options *options = layer->backing_options
					       ? node_options_copy(layer->backing_options)
					       : node_options_new();
	bool has_file = node_options_find(options, "file") || image_names_file(options);

	if (layer->backing_format && !node_options_text(options, "driver"))
		node_options_set(options, "driver", NODE_VALUE_STRING, layer->backing_format);
	if (!has_file && layer->backing_filename) {
		if (add_named_backing(layer, options, ret_name, err)) {
			node_options_free(options);
			return NULL;
		}
	} else {
		*ret_name = node_name_make(options);
	}
	return options;
}

/* An image from a stranger must not have a format that its contents imply. */
static int check_probing(const struct node_options *options, const struct image_policy *policy,
			 GError **err)
{
	if (node_options_text(options, "driver") || !policy || !policy->formats_given)
		return 0;
	return error_refuse(
		err, -EPERM,
		"the image does not say which format it has, and probing is not allowed; record "
		"the format (qemu-img rebase -u -b FILE -F FORMAT), or give --allow-probing");
}

static int check_backing(const struct image *top, const struct node_options *options,
			 const char *name, unsigned length, const struct image_policy *policy,
			 GError **err)
{
	struct file_id id = image_co_options_file_id(options);

	if (length >= IMAGE_MAX_CHAIN)
		return error_refuse(err, -ELOOP, "the backing chain has more than %u images",
				    IMAGE_MAX_CHAIN);
	if (image_chain_has_file(top, &id))
		return error_refuse(err, -ELOOP, "Backing file '%s' creates an infinite loop",
				    name);
	return check_probing(options, policy, err);
}

/*
 * Opens the backing file of @layer, the last one of the chain from @top down. @flags: for it alone;
 * whatever is done to the top image, the rest of the chain is only read.
 */
static int co_open_backing(struct graph *graph, const struct image *top, struct image *layer,
			   struct node_options *options, const struct image_open_opts *top_opts,
			   unsigned flags, unsigned depth, char **share, GError **err)
{
	struct image_open_opts opts = {
		.flags =
			(layer->flags & (IMAGE_DIRECT | IMAGE_FORCE_SHARE | IMAGE_WRITE_UNLOCKED)) |
			flags,
		.cache_bytes =
			MIN(top_opts->cache_bytes, image_memory_left(top) / IMAGE_CACHE_SHARE),
		.policy = graph->policy,
		.share = graph->shared ? share : NULL,
	};

	return co_open_layer(graph, options, &opts, depth, &layer->backing, err);
}

/* In QEMU's words; its name, unless the message begins with it, and that of a layer below the top.
 */
static void prefix_backing(const struct image *top, const struct image *layer, const char *name,
			   GError **err)
{
	const char *shown = (layer->backing_options ? name : layer->backing_filename) ?: name;
	g_autofree char *failed = g_strdup_printf("Could not open '%s'", shown);
	g_autofree char *named = g_strconcat(shown, ": ", NULL);
	bool is_named = !err || g_str_has_prefix((*err)->message, failed) ||
			g_str_has_prefix((*err)->message, named);
	g_autofree char *which = is_named ? g_strdup("") : g_strdup_printf(" '%s'", shown);
	g_autofree char *of =
		layer == top ? g_strdup("") : g_strdup_printf(" of '%s'", layer->filename);

	g_prefix_error(err, "Could not open '%s': Could not open backing file%s%s: ", top->filename,
		       which, of);
}

static int co_open_next(struct graph *graph, struct image *top, struct image *layer,
			const struct image_open_opts *opts, unsigned flags, unsigned length,
			unsigned depth, char **share, GError **err)
{
	g_autofree char *name = NULL;
	struct node_options *options = backing_options(layer, &name, err);
	int ret = options ? check_backing(top, options, name, length, graph->policy, err) : -EINVAL;

	ret = ret ?: co_open_backing(graph, top, layer, options, opts, flags, depth, share, err);
	node_options_free(options);
	if (ret)
		prefix_backing(top, layer, name, err);
	/* The caller can choose only the top's format, and open only the top in another way. */
	return ret == -EMEDIUMTYPE || image_is_write_refusal(ret) ? -EINVAL : ret;
}

/* With what was found below the last layer that was opened. */
static int check_length(unsigned length, const struct image *found, GError **err)
{
	for (; found; found = found->backing)
		length++;
	if (length > IMAGE_MAX_CHAIN)
		return error_refuse(err, -ELOOP, "the backing chain has more than %u images",
				    IMAGE_MAX_CHAIN);
	return 0;
}

static bool has_rest(const struct image *layer)
{
	return !layer->backing_unwanted && (layer->backing_filename || layer->backing_options);
}

/*
 * From the backing file of @layer down, which is opened with @flags, too. What others have opened
 * is complete; others may share the rest once all of it is open.
 */
static int co_open_rest(struct graph *graph, struct image *top, struct image *layer,
			const struct image_open_opts *opts, unsigned flags, unsigned length,
			unsigned depth, GError **err)
{
	g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
	struct image *first = layer;

	for (; has_rest(layer); layer = layer->backing, flags = 0) {
		char *key = NULL;
		int ret = co_open_next(graph, top, layer, opts, flags, length, depth, &key, err);

		length++;
		g_ptr_array_add(keys, key);
		if (!ret && layer->backing->share) {
			g_ptr_array_set_size(keys, keys->len - 1);
			ret = check_length(length - 1, layer->backing, err);
			if (!ret)
				break;
		}
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < keys->len && graph->shared; i++, first = first->backing)
		image_shared_add(graph->shared, keys->pdata[i], first->backing);
	return 0;
}

static int co_open_chain(struct graph *graph, struct image *top, const struct image_open_opts *opts,
			 unsigned depth, GError **err)
{
	/* A format on a format has a chain, too. */
	bool begins = graph->shared && !graph->is_opener;
	int ret;

	if (opts->flags & IMAGE_NO_BACKING || !has_rest(top))
		return 0;
	graph->is_opener |= begins;
	ret = co_open_rest(graph, top, top, opts, 0, 1, depth, err);
	if (!begins)
		return ret;
	graph->is_opener = false;
	image_shared_end(graph->shared, &graph->opener);
	return ret;
}

/* ---- below a format ---- */

/* What stands on a file, but has no driver, is a format to be probed. */
static bool is_bottom(const struct node_options *options)
{
	const char *driver = node_options_text(options, "driver");

	return driver ? image_bottom_driver(driver) != NULL
		      : !node_options_has_child(options, "file");
}

static int co_open_bottom(struct graph *graph, const struct node_options *options,
			  const struct image_open_opts *opts, unsigned depth,
			  struct image **ret_img, GError **err)
{
	struct image *img;
	int ret = add_node(graph, options, depth, err)
			  ?: image_co_open_bottom_node(options, opts->flags, graph->policy,
						       opts->is_data_file, &img, err);

	if (ret)
		return ret;
	ret = opts->co_claim ? opts->co_claim(opts->claim_arg, img, err) : 0;
	if (ret)
		image_co_close(img);
	else
		*ret_img = img;
	return ret;
}

/*
 * Opens what a format stands on: a bottom or, for a filter, another format with its chain. @opts
 * has nothing but flags, is_data_file and the claim.
 */
static int co_open_below(struct graph *graph, const struct node_options *options,
			 const struct image_open_opts *opts, unsigned depth, struct image **ret_img,
			 GError **err)
{
	const char *driver = node_options_text(options, "driver");
	struct image_open_opts below = *opts;
	struct node_options *rest;
	struct image *img;
	int ret;

	if (is_bottom(options))
		return co_open_bottom(graph, options, opts, depth, ret_img, err);
	if ((driver && !image_find_format(driver, err)) ||
	    check_probing(options, graph->policy, err))
		return -EINVAL;
	below.policy = graph->policy;
	below.is_below = true;
	rest = node_options_copy(options);
	ret = co_open_layer(graph, rest, &below, depth, &img, err);
	node_options_free(rest);
	if (ret)
		return ret;
	ret = co_open_chain(graph, img, &below, depth, err);
	if (ret)
		image_co_close(img);
	else
		*ret_img = img;
	return ret;
}

/* ---- the whole ---- */

static bool is_unlocked(const struct image *node)
{
	return node && (node->unlocked || is_unlocked(node->file));
}

/* Once for a chain, whose files are usually on one file system. */
static void warn_of_unlocked(const struct image *img, const struct image_open_opts *opts)
{
	g_autofree char *line = NULL;

	while (img && !is_unlocked(img->file))
		img = img->backing;
	if (!img || !opts->warn)
		return;
	line = g_strdup_printf("%s: the file system does not support locks, so other programs "
			       "could write to it at the same time",
			       img->filename);
	opts->warn(line);
}

/* Opens the top's chain, or takes one, if the top was opened: @ret is 0. Otherwise closes it. */
static int co_complete(struct graph *graph, int ret, struct image *img,
		       const struct image_open_opts *opts, struct image **ret_img, GError **err)
{
	if (!ret && opts->backing) {
		img->backing = opts->backing;
	} else if (!ret) {
		ret = co_open_chain(graph, img, opts, 0, err);
		if (ret)
			image_co_close(img);
	}
	graph_destroy(graph);
	if (ret)
		return ret;
	warn_of_unlocked(img, opts);
	*ret_img = img;
	return 0;
}

static int co_open_on(struct image *file, const struct image_open_opts *opts,
		      struct image **ret_img, GError **err)
{
	struct node_options *options = node_options_new();
	struct image *img = NULL;
	struct graph graph;
	int ret;

	graph_init(&graph, opts);
	ret = co_open_format(&graph, file, options, opts, 0, &img, err);
	node_options_free(options);
	ret = co_complete(&graph, ret, img, opts, ret_img, err);
	if (ret)
		image_co_close(opts->backing);
	return ret;
}

static const struct image_open_opts default_opts;

int image_co_open_on(struct image *file, const struct image_open_opts *opts, struct image **ret_img,
		     GError **err)
{
	return image_one_line(co_open_on(file, opts ?: &default_opts, ret_img, err), err);
}

static int co_open_graph(struct node_options *options, const struct image_open_opts *opts,
			 struct image **ret_img, GError **err)
{
	struct image *img = NULL;
	struct graph graph;
	int ret;

	graph_init(&graph, opts);
	ret = co_open_layer(&graph, options, opts, 0, &img, err);
	return co_complete(&graph, ret, img, opts, ret_img, err);
}

/*
 * The layer with the driver @format. If that is one of a bottom, as in "-f file", the layer is what
 * would otherwise be below it.
 */
static struct node_options *with_format(struct node_options *layer, const char *format)
{
	struct node_options *bottom;

	if (image_bottom_driver(format) && node_options_has_child(layer, "file")) {
		bottom = node_options_take_child(layer, "file");
		node_options_free(layer);
		layer = bottom;
	}
	node_options_set(layer, "driver", NODE_VALUE_STRING, format);
	return layer;
}

/* The options of a name as those of a layer; NULL if it is invalid. The caller frees them. */
static struct node_options *options_of_image(const char *filename,
					     const struct image_open_opts *opts, bool *ret_is_graph,
					     GError **err)
{
	struct node_options *options = image_layer_of_name(filename, ret_is_graph, err);

	if (!options)
		return NULL;
	if (opts->named_by)
		node_options_set_named_by(options, opts->named_by);
	return opts->format ? with_format(options, opts->format) : options;
}

static int check_flags(const char *filename, unsigned flags, GError **err)
{
	if (flags & IMAGE_COPY_ON_READ && !(flags & IMAGE_RDWR))
		return error_refuse(
			err, -EINVAL,
			"Could not open '%s': Can't use copy-on-read on read-only device",
			filename);
	/* Both promise something that a writer cannot keep. */
	if ((flags & IMAGE_RDWR &&
	     flags & (IMAGE_FORCE_SHARE | IMAGE_FOR_CHECK | IMAGE_NO_DATA_FILE | IMAGE_INFO_ONLY |
		      IMAGE_BEAR_WRITERS)) ||
	    (flags & IMAGE_FOR_REPAIR && flags & IMAGE_FORCE_SHARE))
		return error_refuse(
			err, -EINVAL,
			"Could not open '%s': force-share=on can only be used with read-only images",
			filename);
	return 0;
}

int image_co_open(const char *filename, const struct image_open_opts *opts, struct image **ret_img,
		  GError **err)
{
	struct node_options *options;
	bool is_graph = false;
	int ret;

	opts = opts ?: &default_opts;
	ret = check_flags(filename, opts->flags, err);
	if (ret)
		return image_one_line(ret, err);
	options = options_of_image(filename, opts, &is_graph, err);
	ret = options ? co_open_graph(options, opts, ret_img, err) : -EINVAL;
	node_options_free(options);
	/* The name of a file does not always tell where a graph is wrong. */
	if (ret && is_graph)
		g_prefix_error(err, "Could not open '%s': ", filename);
	return image_one_line(ret, err);
}

int image_co_reopen_backing(struct image *top, struct image *layer,
			    const struct image_open_opts *opts, GError **err)
{
	struct graph graph = {
		.policy = opts->policy,
		.memory = image_memory_ref(top->memory),
		.names = g_ptr_array_new_with_free_func(g_free),
	};
	unsigned length = 1;
	int ret;

	for (const struct image *above = top; above != layer; above = above->backing)
		length++;
	ret = image_co_close(g_steal_pointer(&layer->backing));
	if (ret)
		error_set(err, ret, "Could not close the backing file of '%s'", layer->filename);
	else
		ret = co_open_rest(&graph, top, layer, opts, opts->flags, length, 0, err);
	graph_destroy(&graph);
	return image_one_line(ret, err);
}
