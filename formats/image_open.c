// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: opening an image. Finds out its format, opens that on the file, and goes down the
 * chain of backing files.
 */
#include <errno.h>

#include "foreign.h"
#include "image_int.h"
#include "probe.h"

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
		g_set_error(
			err, UBD_ERROR, -ret,
			"Could not open '%s': Could not read image for determining its format: %s",
			file->filename, g_strerror(-ret));
	return ret;
}

/* What is called a foreign format must be of it: its header is not looked at any further. */
static int co_check_foreign(struct image *file, const struct format_ops *ops, GError **err)
{
	const struct format_ops *found;
	int ret = co_probe(file, &found, err);

	if (ret || found == ops)
		return ret;
	g_set_error(err, UBD_ERROR, EINVAL, "Could not open '%s': Image is not in %s format",
		    file->filename, ops->io.name);
	return -EINVAL;
}

/* At the bottom; and what stands on it learns how far the file has grown until now. */
static int co_keep_writers_out(struct image *node, GError **err)
{
	int ret = 0;

	if (node->file)
		ret = co_keep_writers_out(node->file, err);
	else if (node->bottom->co_keep_writers_out)
		ret = node->bottom->co_keep_writers_out(node, err);
	if (ret || !node->ops->co_refresh_size)
		return ret;
	ret = node->ops->co_refresh_size(node);
	if (ret)
		g_set_error(err, UBD_ERROR, -ret, "Could not open '%s': %s", node->filename,
			    g_strerror(-ret));
	return ret;
}

/* A format node on @file, which it owns from now on, also on failure. */
static int co_open_format(struct image *file, const struct image_open_opts *opts,
			  struct image_memory *memory, struct image **ret_img, GError **err)
{
	const struct format_ops *ops = NULL;
	struct image *img;
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
	if (!ret && opts->data_file && !ops->has_data_files) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "Could not open '%s': format %s does not support external data files",
			    file->filename, ops->io.name);
		ret = -EINVAL;
	}
	if (ret) {
		image_co_close(opts->data_file);
		image_co_close(file);
		return ret;
	}
	img = image_node_new_format(ops, file, opts->flags & ~IMAGE_BEAR_WRITERS);
	img->memory = memory;
	if (opts->flags & IMAGE_BEAR_WRITERS && !ops->bears_writers)
		ret = co_keep_writers_out(file, err);
	ret = ret ?: image_node_co_open(img, opts, err);
	if (ret) {
		image_node_free(img);
		image_co_close(file);
		return ret;
	}
	*ret_img = img;
	return 0;
}

/* ---- the chain ---- */

/* Opens the backing file of @layer, the last one; the chain from @top down must not have it. */
static int co_open_backing(const struct image *top, struct image *layer, unsigned depth,
			   const struct image_open_opts *top_opts, GError **err)
{
	g_autofree char *filename = image_resolve_backing(layer->filename, layer->backing_filename);
	/* Whatever is done to the top image, the rest of the chain is only read. */
	struct image_open_opts opts = {
		.format = layer->backing_format,
		.flags = top_opts->flags & (IMAGE_DIRECT | IMAGE_FORCE_SHARE),
		.cache_bytes =
			MIN(top_opts->cache_bytes, image_memory_left(top) / IMAGE_CACHE_SHARE),
		.policy = top_opts->policy,
	};
	struct named_file named = named_backing_file(opts.policy, layer->filename);
	struct file_id id = image_co_file_id(filename);
	struct image *file;
	int ret;

	if (depth >= IMAGE_MAX_CHAIN) {
		g_set_error(err, UBD_ERROR, ELOOP, "the backing chain has more than %u images",
			    IMAGE_MAX_CHAIN);
		return -ELOOP;
	}
	if (image_chain_has_file(top, &id)) {
		g_set_error(err, UBD_ERROR, ELOOP, "Backing file '%s' creates an infinite loop",
			    filename);
		return -ELOOP;
	}
	if (!opts.format && opts.policy && opts.policy->formats_given) {
		g_set_error(
			err, UBD_ERROR, EPERM,
			"the image does not say which format it has, and probing is not allowed; "
			"record the format (qemu-img rebase -u -b FILE -F FORMAT), or give "
			"--allow-probing");
		return -EPERM;
	}
	ret = image_co_open_named(filename, opts.flags, &named, &file, err);
	ret = ret ?: co_open_format(file, &opts, top->memory, &layer->backing, err);
	/* It is the top image's format that the caller can choose. */
	return ret == -EMEDIUMTYPE ? -EINVAL : ret;
}

static int co_open_chain(struct image *top, const struct image_open_opts *opts, GError **err)
{
	unsigned depth = 1;
	int ret;

	if (opts->flags & IMAGE_NO_BACKING)
		return 0;
	for (struct image *layer = top; layer->backing_filename; layer = layer->backing) {
		ret = co_open_backing(top, layer, depth++, opts, err);
		if (ret) {
			g_prefix_error(
				err,
				"Could not open '%s': Could not open backing file '%s' of '%s': ",
				top->filename, layer->backing_filename, layer->filename);
			return ret;
		}
	}
	return 0;
}

static bool is_unlocked(const struct image *node)
{
	return node && (node->unlocked || is_unlocked(node->file));
}

/* Once for a chain, whose files tend to be on one file system. */
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

static int co_open_on(struct image *file, const struct image_open_opts *opts,
		      struct image **ret_img, GError **err)
{
	struct image_memory *memory = image_memory_new(opts->memory_limit);
	struct image *img;
	int ret = co_open_format(file, opts, memory, &img, err);

	if (ret) {
		g_free(memory);
		return ret;
	}
	ret = co_open_chain(img, opts, err);
	if (ret) {
		image_co_close(img);
		return ret;
	}
	warn_of_unlocked(img, opts);
	*ret_img = img;
	return 0;
}

static const struct image_open_opts default_opts;

int image_co_open_on(struct image *file, const struct image_open_opts *opts, struct image **ret_img,
		     GError **err)
{
	return image_one_line(co_open_on(file, opts ?: &default_opts, ret_img, err), err);
}

int image_co_open(const char *filename, const struct image_open_opts *opts, struct image **ret_img,
		  GError **err)
{
	struct named_file named;
	unsigned bottom_flags;
	struct image *file;
	int ret;

	opts = opts ?: &default_opts;
	/* Both promise something that a writer cannot keep. */
	if ((opts->flags & IMAGE_RDWR &&
	     opts->flags & (IMAGE_FORCE_SHARE | IMAGE_FOR_CHECK | IMAGE_NO_DATA_FILE |
			    IMAGE_INFO_ONLY | IMAGE_BEAR_WRITERS)) ||
	    (opts->flags & IMAGE_FOR_REPAIR && opts->flags & IMAGE_FORCE_SHARE)) {
		g_set_error(
			err, UBD_ERROR, EINVAL,
			"Could not open '%s': force-share=on can only be used with read-only images",
			filename);
		return image_one_line(-EINVAL, err);
	}
	bottom_flags = opts->flags & ~(IMAGE_FOR_REPAIR | IMAGE_INFO_ONLY);
	if (opts->flags & IMAGE_FOR_REPAIR)
		bottom_flags |= IMAGE_RDWR;
	named = named_backing_file(opts->policy, opts->named_by);
	ret = image_co_open_named(filename, bottom_flags, opts->named_by ? &named : NULL, &file,
				  err);
	ret = ret ?: co_open_on(file, opts, ret_img, err);
	return image_one_line(ret, err);
}
