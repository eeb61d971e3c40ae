// SPDX-License-Identifier: GPL-2.0-or-later
/* How one node begins and ends. */
#include <errno.h>

#include "image_int.h"
#include "image_shared.h"

static const struct format_ops no_format;
static const struct bottom_ops no_bottom;

static struct image *node_new(const struct image_ops *ops, const char *filename, unsigned flags)
{
	struct image *img = g_new0(struct image, 1);

	img->ops = ops;
	img->format = &no_format;
	img->bottom = &no_bottom;
	img->filename = g_strdup(filename);
	img->flags = flags;
	img->grows = ops->grows;
	img->patience_ns = IMAGE_PATIENT;
	img->limits.request_alignment = 1;
	img->limits.memory_alignment = 1;
	return img;
}

struct image *image_node_new_format(const struct format_ops *ops, struct image *file,
				    unsigned flags)
{
	struct image *img = node_new(&ops->io, file->filename, flags);

	img->format = ops;
	img->file = file;
	return img;
}

struct image *image_node_new_bottom(const struct bottom_ops *ops, const char *filename,
				    unsigned flags)
{
	struct image *img = node_new(&ops->io, filename, flags);

	img->bottom = ops;
	return img;
}

void image_node_free(struct image *img)
{
	if (img->rmw_lock)
		co_rwlock_destroy(img->rmw_lock);
	iobuf_free(img->rmw_lock);
	g_free(img->backing_filename);
	g_free(img->backing_format);
	if (img->memory)
		image_memory_unref(img->memory);
	node_options_free(img->options);
	node_options_free(img->backing_options);
	g_free(img->filename);
	g_free(img);
}

static int check_snapshot_opts(const struct image *img, const struct image_open_opts *opts,
			       GError **err)
{
	if (!opts->snapshot && !opts->snapshot_id && !opts->snapshot_name)
		return 0;
	if (!img->format->co_snapshot_list)
		return error_refuse(err, -ENOTSUP,
				    "Could not open '%s': format %s does not support snapshots",
				    img->filename, img->ops->name);
	if (!image_is_read_only(img))
		return error_refuse(err, -EINVAL,
				    "Could not open '%s': a snapshot can only be opened read-only",
				    img->filename);
	return 0;
}

int image_node_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	int ret = check_snapshot_opts(img, opts, err);

	img->is_below = opts->is_below;
	img->detect_zeroes = node_flags_detect_zeroes(img->options);
	/* Otherwise co_open takes it. */
	if (ret)
		image_co_close(opts->data_file);
	else if (img->file)
		ret = img->format->co_open(img, opts, err);
	else
		ret = img->bottom->co_open(img, opts, err);
	if (!ret && img->size > IMAGE_MAX_SIZE) {
		img->ops->co_close(img);
		return error_refuse(err, -EFBIG, "Could not open '%s': %s", img->filename,
				    g_strerror(EFBIG));
	}
	if (ret || img->limits.request_alignment == 1)
		return ret;
	img->rmw_lock = try_iobuf_alloc0(sizeof(*img->rmw_lock));
	if (!img->rmw_lock) {
		img->ops->co_close(img);
		return error_refuse(err, -ENOMEM, "Could not open '%s': out of memory",
				    img->filename);
	}
	co_rwlock_init(img->rmw_lock);
	return 0;
}

int image_node_co_new_bottom(const struct bottom_ops *ops, const char *filename,
			     const struct image_open_opts *opts, void *opaque,
			     struct image **ret_img, GError **err)
{
	struct image *img = image_node_new_bottom(ops, filename, opts->flags);
	int ret;

	img->opaque = opaque;
	img->options = opts->node ? node_options_copy(opts->node) : NULL;
	ret = image_node_co_open(img, opts, err);
	if (ret)
		image_node_free(img);
	else
		*ret_img = img;
	return ret;
}

int image_co_new_bottom(const struct bottom_ops *ops, const char *filename, unsigned flags,
			void *opaque, struct image **ret_img, GError **err)
{
	struct image_open_opts opts = { .flags = flags };

	return image_node_co_new_bottom(ops, filename, &opts, opaque, ret_img, err);
}

int image_co_new_format(const struct format_ops *ops, struct image *file, unsigned flags,
			struct image **ret_img, GError **err)
{
	struct image_open_opts opts = { .flags = flags };
	struct image *img = image_node_new_format(ops, file, flags);
	int ret;

	img->memory = file->memory ? image_memory_ref(file->memory) : image_memory_new(0);
	ret = image_node_co_open(img, &opts, err);
	if (ret) {
		image_node_free(img);
		image_co_close(file);
	} else {
		*ret_img = img;
	}
	return ret;
}

/* Closes the node and what it stands on, but not its backing file. */
static int co_close_layer(struct image *img)
{
	int ret = image_co_flush(img);
	int close_ret = img->ops->co_close(img);
	int file_ret = image_co_close(img->file);

	image_node_free(img);
	return ret ?: close_ret ?: file_ret;
}

int image_co_close(struct image *img)
{
	uint64_t patience_ns = IMAGE_PATIENT;
	int first_error = 0;

	/* From the top down: what an image has held back may need what is below it. */
	while (img) {
		struct image *backing = img->backing;
		int ret;

		if (image_share_put(img, patience_ns))
			return first_error;
		patience_ns = img->patience_ns;
		ret = co_close_layer(img);

		first_error = first_error ?: ret;
		img = backing;
	}
	return first_error;
}
