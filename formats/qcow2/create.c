// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Creates an empty image: its options, and its header, which is written last, so that an unfinished
 * file does not look like an image. create_layout.c does the rest.
 */
#include "create.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "align.h"
#include "qcow2.h"
#include "values.h"

/* In the order in which QEMU's tools show them. */
const struct image_option qcow2_create_options[] = {
	{ "encryption", "bool (on/off)", "Encrypt the image (not supported yet)", NULL },
	{ "cluster_size", "size", "qcow2 cluster size", "65536" },
	{ "extended_l2", "bool (on/off)", "Extended L2 tables", "off" },
	{ "preallocation", "str",
	  "Preallocation mode (allowed values: off, metadata, falloc, full)", NULL },
	{ "compression_type", "str", "Compression method used for image cluster compression",
	  "zlib" },
	{ "size", "size", "Virtual disk size", NULL },
	{ "compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])", NULL },
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Image format of the base image", NULL },
	{ "data_file", "str", "File name of an external data file", NULL },
	{ "data_file_raw", "bool (on/off)", "The external data file must stay valid as a raw image",
	  NULL },
	{ "lazy_refcounts", "bool (on/off)", "Postpone refcount updates", "off" },
	{ "refcount_bits", "num", "Width of a reference count entry in bits", "16" },
	{ NULL, NULL, NULL, NULL },
};

/* ---- options ---- */

/* @name is QEMU's name for it in its messages. */
static int bad_value(const char *name, const char *value, const char *allowed, GError **err)
{
	return error_refuse(err, -EINVAL, "Parameter '%s' does not accept value '%s', must be %s",
			    name, value, allowed);
}

static int parse_power_of_two(const char *value, uint64_t min, uint64_t max, const char *refusal,
			      unsigned *ret_log2, GError **err)
{
	uint64_t number;

	if (size_parse(value, &number) || number < min || number > max || !is_power_of_2(number))
		return error_refuse(err, -EINVAL, "%s", refusal);
	*ret_log2 = __builtin_ctzll(number);
	return 0;
}

static int parse_on_off(const char *name, const char *value, bool *ret_on, GError **err)
{
	return bool_parse(value, ret_on) ? 0 : bad_value(name, value, "on or off", err);
}

static int parse_compat(struct layout *l, const char *value, GError **err)
{
	if (!strcmp(value, "v3") || !strcmp(value, "1.1"))
		l->version = 3;
	else if (!strcmp(value, "v2") || !strcmp(value, "0.10"))
		l->version = 2;
	else
		return bad_value("version", value, "v2 (0.10) or v3 (1.1)", err);
	return 0;
}

static int parse_compression(struct layout *l, const char *value, GError **err)
{
	if (!strcmp(value, "zlib"))
		l->compression_type = QCOW2_COMPRESSION_ZLIB;
	else if (!strcmp(value, "zstd"))
		l->compression_type = QCOW2_COMPRESSION_ZSTD;
	else
		return bad_value("compression-type", value, "zlib or zstd", err);
	return 0;
}

static int parse_preallocation(struct layout *l, const char *value, GError **err)
{
	if (image_parse_preallocation(value, &l->preallocation))
		return 0;
	return bad_value("preallocation", value, "off, metadata, falloc or full", err);
}

static int not_yet(const char *name, const char *value, GError **err)
{
	return error_refuse(err, -ENOTSUP, "%s=%s: encryption is not supported yet", name, value);
}

static int parse_option(struct layout *l, const char *name, const char *value, GError **err)
{
	bool encrypted;

	if (!strcmp(name, "cluster_size"))
		return parse_power_of_two(
			value, 512, 2 << 20,
			"Cluster size must be a power of two between 512 and 2048k",
			&l->cluster_bits, err);
	if (!strcmp(name, "refcount_bits"))
		return parse_power_of_two(value, 1, 64, QCOW2_BAD_REFCOUNT_BITS, &l->refcount_order,
					  err);
	if (!strcmp(name, "compat"))
		return parse_compat(l, value, err);
	if (!strcmp(name, "compression_type"))
		return parse_compression(l, value, err);
	if (!strcmp(name, "lazy_refcounts"))
		return parse_on_off(name, value, &l->lazy_refcounts, err);
	if (!strcmp(name, "preallocation"))
		return parse_preallocation(l, value, err);
	if (!strcmp(name, "extended_l2"))
		return parse_on_off(name, value, &l->extended_l2, err);
	if (!strcmp(name, "data_file_raw"))
		return parse_on_off(name, value, &l->data_file_raw, err);
	if (!strcmp(name, "encryption"))
		return parse_on_off(name, value, &encrypted, err)
			       ?: encrypted ? not_yet(name, value, err)
					    : 0;
	if (!strcmp(name, "data_file")) {
		l->data_file = value;
		return *value ? 0 : bad_value(name, value, "a file name", err);
	}
	/* The caller passed these as fields of image_create_opts. */
	if (!strcmp(name, "size") || !strcmp(name, "backing_file") || !strcmp(name, "backing_fmt"))
		return 0;
	if (image_has_option(image_file_create_options(), name))
		return 0;
	return error_refuse(err, -EINVAL, "Invalid parameter '%s'", name);
}

/* In QEMU's words. */
static int check_v2(const struct layout *l, GError **err)
{
	const char *what = l->refcount_order != 4 ? "Different refcount widths than 16 bits require"
			   : l->lazy_refcounts	  ? "Lazy refcounts only supported with"
			   : l->extended_l2	  ? "Extended L2 entries are only supported with"
			   : l->compression_type
				   ? "Non-zlib compression type is only supported with"
			   : l->data_file ? "External data files are only supported with"
					  : NULL;

	if (!what)
		return 0;
	return error_refuse(err, -EINVAL,
			    "%s compatibility level 1.1 %s above (use version=v3 or greater)", what,
			    l->refcount_order != 4 ? "or" : "and");
}

static int check_combination(const struct layout *l, const struct image_create_opts *opts,
			     GError **err)
{
	int ret = 0;

	if (l->version < 3)
		ret = check_v2(l, err);
	if (ret)
		return ret;
	if (l->extended_l2 && l->cluster_bits < QCOW2_MIN_EXTENDED_L2_CLUSTER_BITS)
		return error_refuse(err, -EINVAL,
				    "Extended L2 entries are only supported with cluster sizes of "
				    "at least 16384 bytes");
	if (l->data_file_raw && !l->data_file)
		return error_refuse(err, -EINVAL, "data-file-raw requires data-file");
	if (l->data_file_raw && opts->backing_filename)
		return error_refuse(
			err, -EINVAL,
			"Backing file and data-file-raw cannot be used at the same time");
	/* A cluster with a place in the file hides what is below, unless it has subclusters. */
	if (l->preallocation != IMAGE_PREALLOC_OFF && opts->backing_filename && !l->extended_l2)
		return error_refuse(
			err, -EINVAL,
			"Backing file and preallocation can only be used at the same time if "
			"extended_l2 is on");
	return 0;
}

int qcow2_layout_from_options(struct layout *l, const struct image_create_opts *opts, GError **err)
{
	GHashTableIter iter;
	gpointer name, value;
	int ret;

	*l = (struct layout){ .version = 3, .cluster_bits = 16, .refcount_order = 4 };
	if (opts->options) {
		g_hash_table_iter_init(&iter, opts->options);
		while (g_hash_table_iter_next(&iter, &name, &value)) {
			ret = parse_option(l, name, value, err);
			if (ret)
				return ret;
		}
	}
	l->cluster_size = 1ull << l->cluster_bits;
	/* A raw data file then stays right even if changes of entries are lost. */
	if (l->data_file_raw && l->preallocation == IMAGE_PREALLOC_OFF)
		l->preallocation = IMAGE_PREALLOC_METADATA;
	return check_combination(l, opts, err);
}

/* ---- writing ---- */

static void fill_fixed_header(const struct layout *l, struct qcow2_disk_header *disk)
{
	disk->magic = htobe32(QCOW2_MAGIC);
	disk->version = htobe32(l->version);
	disk->cluster_bits = htobe32(l->cluster_bits);
	disk->size = htobe64(l->size);
	disk->l1_size = htobe32(l->l1_entries);
	disk->l1_table_offset = htobe64(l->l1_entries ? qcow2_layout_l1_off(l) : 0);
	disk->refcount_table_offset = htobe64(l->cluster_size);
	disk->refcount_table_clusters = htobe32(l->reftable_clusters);
	if (l->version < 3)
		return;
	disk->refcount_order = htobe32(l->refcount_order);
	disk->compression_type = l->compression_type;
	disk->incompatible_features =
		htobe64((l->compression_type ? QCOW2_INCOMPAT_COMPRESSION : 0) |
			(l->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0) |
			(l->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0));
	if (l->data_file_raw)
		disk->autoclear_features = htobe64(QCOW2_AUTOCLEAR_DATA_FILE_RAW);
	if (l->lazy_refcounts)
		disk->compatible_features = htobe64(QCOW2_COMPAT_LAZY_REFCOUNTS);
}

/*
 * Writes header, extensions and the backing file's name to @cluster; NULL: only checks that they
 * fit.
 */
static int fill_header(const struct layout *l, const struct image_create_opts *opts,
		       uint8_t *cluster, GError **err)
{
	g_autoptr(GPtrArray) extensions = qcow2_header_extensions_new();
	struct header_content content = {
		.extensions = extensions,
		.backing_filename = opts->backing_filename,
	};

	fill_fixed_header(l, &content.fixed);
	if (opts->unfinished)
		content.fixed.magic = htobe32(QCOW2_MAGIC_UNFINISHED);
	if (opts->backing_format)
		qcow2_header_extensions_add(extensions, QCOW2_EXT_BACKING_FORMAT,
					    opts->backing_format, strlen(opts->backing_format));
	if (l->data_file)
		qcow2_header_extensions_add(extensions, QCOW2_EXT_DATA_FILE, l->data_file,
					    strlen(l->data_file));
	return qcow2_header_fill(&content, l->cluster_size, cluster, err);
}

/* An old header must not name the new tables while they are being written. */
static int write_all(const struct layout *l, struct image *file, struct image *data_file,
		     const uint8_t *header)
{
	return image_co_pwrite_zeroes(file, 0, l->cluster_size, 0) ?:
	       image_co_flush(file) ?:
	       qcow2_co_write_layout(l, file, data_file) ?:
	       (data_file ? image_co_flush(data_file) : 0) ?:
	       image_co_flush(file) ?:
	       image_co_pwrite(file, 0, l->cluster_size, header, 0) ?:
	       image_co_flush(file);
}

static int plan(struct layout *l, const struct image_create_opts *opts, GError **err)
{
	return qcow2_layout_from_options(l, opts, err) ?:
	       qcow2_plan_layout(l, opts->size, err) ?:
	       fill_header(l, opts, NULL, err);
}

int qcow2_check_create(const struct image_create_opts *opts, GError **err)
{
	struct layout l;

	return plan(&l, opts, err);
}

/* Writes the image, and its external data file if it has one. */
static int co_write_with_data_file(const struct layout *l, struct image *file,
				   const struct image_create_opts *opts, const uint8_t *header,
				   GError **err)
{
	struct image *data_file = NULL;
	int ret = 0;

	if (l->data_file)
		ret = qcow2_co_create_data_file(file, l->data_file, opts, &data_file, err);
	if (!ret) {
		ret = write_all(l, file, data_file, header);
		ret = ret ?: image_co_close(g_steal_pointer(&data_file));
		if (ret)
			error_set(err, ret, "cannot write the image");
	}
	image_co_close(data_file);
	return ret;
}

int qcow2_co_create(struct image *file, const struct image_create_opts *opts, GError **err)
{
	struct layout l;
	uint8_t *header;
	int ret = plan(&l, opts, err);

	if (ret)
		return ret;
	header = try_iobuf_alloc0(l.cluster_size);
	if (!header)
		return error_refuse(err, -ENOMEM, "no memory");
	ret = fill_header(&l, opts, header, err);
	if (!ret)
		ret = co_write_with_data_file(&l, file, opts, header, err);
	iobuf_free(header);
	return ret;
}
