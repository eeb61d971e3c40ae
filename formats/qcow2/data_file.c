// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The external data file: guest clusters lie there, each at its guest offset, and nothing else
 * does. It has no refcounts, no epochs (a cluster never changes its owner) and no overlap check.
 *
 * A raw data file always reads as the guest sees the disk: it decides. Reads go there without a
 * look at the entries; what the guest zeroes or discards is zeroed there, and the entries stay as
 * they are. Writes allocate clusters that create did not, for programs that do look.
 */
#include "qcow2.h"

#include "image_int.h"

/* Whether the caller only looks at the metadata. */
static bool is_unwanted(const struct qcow2 *q)
{
	return q->img->flags & IMAGE_NO_DATA_FILE;
}

static int check_data_file(const struct qcow2 *q, GError **err)
{
	bool raw = q->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	bool external = q->incompatible_features & QCOW2_INCOMPAT_DATA_FILE;

	if (raw && !external)
		return qcow2_refuse(q, err, -EINVAL,
				    "the raw external data bit is set, but there is no "
				    "external data file");
	if (raw && q->img->backing_filename)
		return qcow2_refuse(q, err, -EINVAL,
				    "a raw external data file and a backing file cannot be "
				    "used together");
	if (external && q->nr_snapshots)
		return qcow2_refuse(q, err, -EINVAL,
				    "an external data file and internal snapshots cannot be "
				    "used together");
	if (external && !q->data_filename && !q->img->data_file && !is_unwanted(q))
		return qcow2_refuse(q, err, -EINVAL,
				    "'data-file' is required for this image: it does not name its "
				    "external data file");
	if (!external && q->img->data_file)
		return qcow2_refuse(q, err, -EINVAL,
				    "'data-file' can only be set for images with an external "
				    "data file");
	return 0;
}

static int co_open_by_name(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	const char *image = image_bottom_name(q->img);
	g_autofree char *filename = is_unwanted(q) ? g_strdup("null:0")
						   : image_resolve_backing(image, q->data_filename);
	int ret = image_co_open_data_file(filename, q->img->flags, opts->policy,
					  is_unwanted(q) ? NULL : image, &q->img->data_file, err);

	if (ret)
		g_prefix_error(err, "%s: external data file: ", q->img->filename);
	return ret;
}

int qcow2_co_open_data_file(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	int ret = check_data_file(q, err);
	struct file_id data;

	if (ret || !(q->incompatible_features & QCOW2_INCOMPAT_DATA_FILE))
		return ret;
	if (!q->img->data_file)
		ret = co_open_by_name(q, opts, err);
	if (ret)
		return ret;
	/* Without locks (-U) nothing else would notice. */
	data = image_file_id(q->img->data_file);
	if (image_chain_has_file(q->file, &data))
		return qcow2_refuse(q, err, -EINVAL, "it cannot be its own data file");
	q->data_file = q->img->data_file;
	q->data_file_raw = q->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	return 0;
}

int qcow2_co_close_data_file(struct qcow2 *q)
{
	int ret = image_co_close(q->img->data_file);

	q->img->data_file = NULL;
	q->data_file = q->file;
	return ret;
}

/* ---- create ---- */

int qcow2_co_create_data_file(const struct image *file, const char *name,
			      const struct image_create_opts *opts, struct image **ret_node,
			      GError **err)
{
	g_autofree char *filename = image_resolve_backing(image_filename(file), name);
	struct file_id image = image_file_id(file), data = image_co_file_id(filename);

	if (file_id_equal(&image, &data))
		return error_refuse(err, -EINVAL, "it cannot be its own data file");
	return image_co_create_bottom(filename, opts, err)
		       ?: image_co_open_bottom(filename, IMAGE_RDWR, ret_node, err);
}
