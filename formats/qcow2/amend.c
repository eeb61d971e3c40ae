// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Changes the options of an existing image: first what makes its version newer, then what needs the
 * newer version, and an older version last. All options are checked before the first is changed.
 * Each step ends with one write of the header.
 */
#include "amend.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"
#include "create.h"
#include "snapshot.h"
#include "values.h"

/* In the order in which QEMU's tools show them. */
const struct image_option qcow2_amend_options[] = {
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Image format of the base image", NULL },
	{ "compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])", NULL },
	{ "data_file", "str", "File name of an external data file", NULL },
	{ "data_file_raw", "bool (on/off)", "The external data file must stay valid as a raw image",
	  NULL },
	{ "lazy_refcounts", "bool (on/off)", "Postpone refcount updates", NULL },
	{ "refcount_bits", "num", "Width of a reference count entry in bits", NULL },
	{ "size", "size", "Virtual disk size", NULL },
	{ NULL, NULL, NULL, NULL },
};

/* What the image will be; what was not given stays as it is. */
struct amendment {
	uint32_t version;
	unsigned refcount_order;
	bool lazy_refcounts;
	bool data_file_raw;
	const char *data_file; /* NULL: unchanged */
	uint64_t size;
};

/* ---- the options ---- */

static int parse_on_off(const char *name, const char *value, bool *ret_on, GError **err)
{
	if (bool_parse(value, ret_on))
		return 0;
	return error_refuse(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
}

static int parse_compat(struct amendment *to, const char *value, GError **err)
{
	if (!strcmp(value, "v3") || !strcmp(value, "1.1"))
		to->version = 3;
	else if (!strcmp(value, "v2") || !strcmp(value, "0.10"))
		to->version = 2;
	else
		return error_refuse(
			err, -EINVAL,
			"Unknown compatibility level %s, compat must be v2 (0.10) or v3 (1.1)",
			value);
	return 0;
}

static int parse_refcount_bits(struct amendment *to, const char *value, GError **err)
{
	uint64_t bits;

	if (number_parse(value, 1, 64, &bits) || !is_power_of_2(bits))
		return error_refuse(err, -EINVAL, QCOW2_BAD_REFCOUNT_BITS);
	to->refcount_order = __builtin_ctzll(bits);
	return 0;
}

static int parse_option(struct amendment *to, const char *name, const char *value, GError **err)
{
	if (!strcmp(name, "compat"))
		return parse_compat(to, value, err);
	if (!strcmp(name, "refcount_bits"))
		return parse_refcount_bits(to, value, err);
	if (!strcmp(name, "lazy_refcounts"))
		return parse_on_off(name, value, &to->lazy_refcounts, err);
	if (!strcmp(name, "data_file_raw"))
		return parse_on_off(name, value, &to->data_file_raw, err);
	if (!strcmp(name, "size"))
		return g_ascii_string_to_unsigned(value, 10, 0, INT64_MAX, &to->size, NULL)
			       ? 0
			       : error_refuse(err, -EINVAL,
					      "size is '%s', must be a number of bytes", value);
	if (!strcmp(name, "data_file")) {
		to->data_file = value;
		return 0;
	}
	/* The data that the image takes from there would change. */
	return error_refuse(
		err, -ENOTSUP,
		"Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
}

static int parse_options(struct qcow2 *q, GHashTable *options, struct amendment *to, GError **err)
{
	GHashTableIter iter;
	gpointer name, value;
	int ret = 0;

	*to = (struct amendment){
		.version = q->version,
		.refcount_order = q->refcount_order,
		.lazy_refcounts = q->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS,
		.data_file_raw = q->data_file_raw,
		.size = image_size(q->img),
	};
	g_hash_table_iter_init(&iter, options);
	while (!ret && g_hash_table_iter_next(&iter, &name, &value))
		ret = parse_option(to, name, value, err);
	/* As in QEMU: asking for version 2 does not ask for features that it lacks. */
	if (!ret && to->version < 3 && !g_hash_table_contains(options, "lazy_refcounts"))
		to->lazy_refcounts = false;
	return ret;
}

/* ---- what can be ---- */

static int check_snapshots_v2(const struct qcow2 *q, const struct amendment *to, GError **err)
{
	for (guint i = 0; i < q->snapshots->len; i++) {
		const struct snapshot *s = q->snapshots->pdata[i];

		if (s->disk_size != to->size || s->vm_state_size > UINT32_MAX)
			return error_refuse(
				err, -ENOTSUP,
				"snapshot '%s' has a disk or VM state of a size that version 2 "
				"cannot record; delete it first",
				s->name);
	}
	return 0;
}

static int check_v2(const struct qcow2 *q, const struct amendment *to, GError **err)
{
	uint64_t features = q->incompatible_features;

	if (features & QCOW2_INCOMPAT_DATA_FILE)
		return error_refuse(err, -ENOTSUP, "Cannot downgrade an image with a data file");
	if (features & ~QCOW2_INCOMPAT_COMPRESSION)
		return error_refuse(
			err, -ENOTSUP,
			"Cannot downgrade an image with incompatible features 0x%" PRIx64 " set%s",
			features,
			features & QCOW2_INCOMPAT_EXTENDED_L2 ? " (extended L2 entries)" : "");
	if (qcow2_has_bitmaps(q))
		return error_refuse(err, -ENOTSUP, "Cannot downgrade an image with bitmaps");
	if (to->lazy_refcounts)
		return error_refuse(
			err, -ENOTSUP,
			"Lazy refcounts only supported with compatibility level 1.1 and "
			"above (use compat=1.1 or greater)");
	if (to->refcount_order == 4)
		return check_snapshots_v2(q, to, err);
	if (to->refcount_order != q->refcount_order)
		return error_refuse(
			err, -ENOTSUP,
			"Refcount widths other than 16 bits require compatibility level "
			"1.1 or above (use compat=1.1 or greater)");
	return error_refuse(err, -ENOTSUP, "compat=0.10 requires refcount_bits=16");
}

/* "Extra data": version 3 needs what version 2 may leave out. */
static int check_v3(const struct qcow2 *q, GError **err)
{
	for (guint i = 0; q->version < 3 && i < q->snapshots->len; i++) {
		const struct snapshot *s = q->snapshots->pdata[i];
		const struct qcow2_disk_snapshot *disk = (const void *)s->raw;

		if (be32toh(disk->extra_data_size) < 16)
			return error_refuse(
				err, -ENOTSUP,
				"snapshot '%s' does not record the size of its disk, which "
				"version 3 (compat=1.1) requires; delete it first",
				s->name);
	}
	return 0;
}

static int check(const struct qcow2 *q, const struct amendment *to, GError **err)
{
	if (to->data_file && !qcow2_has_data_file(q))
		return error_refuse(err, -EINVAL,
				    "data-file can only be set for images that use an "
				    "external data file");
	if (to->data_file_raw && !q->data_file_raw)
		return error_refuse(err, -EINVAL, "data-file-raw cannot be set on existing images");
	return to->version < 3 ? check_v2(q, to, err) : check_v3(q, err);
}

/* ---- the steps ---- */

/* Everything that the header says about features, except the version. */
static int co_set_features(struct qcow2 *q, const struct amendment *to, GError **err)
	REQUIRES(q->struct_lock)
{
	uint64_t compatible = q->compatible_features, autoclear = q->autoclear_features;
	const struct header_extension *ext;
	g_autofree struct header_extension *old_name = NULL;
	int ret;

	co_mutex_lock(&q->alloc_lock);
	q->compatible_features &= ~QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (to->lazy_refcounts)
		q->compatible_features |= QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (!to->data_file_raw)
		q->autoclear_features &= ~QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	ext = qcow2_header_extensions_find(q->extensions, QCOW2_EXT_DATA_FILE);
	if (to->data_file && ext)
		old_name = g_memdup2(ext, sizeof(*ext) + ext->bytes);
	/* Without a name, each user must give the data file. */
	if (to->data_file)
		qcow2_set_extension(q, QCOW2_EXT_DATA_FILE, *to->data_file ? to->data_file : NULL,
				    strlen(to->data_file));
	ret = qcow2_co_update_header(q, err);
	if (ret) {
		q->compatible_features = compatible;
		q->autoclear_features = autoclear;
		if (to->data_file)
			qcow2_set_extension(q, QCOW2_EXT_DATA_FILE,
					    old_name ? old_name->data : NULL,
					    old_name ? old_name->bytes : 0);
		qcow2_co_settle_header(q);
	} else {
		q->data_file_raw = to->data_file_raw;
	}
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

static int co_set_version(struct qcow2 *q, uint32_t version, GError **err) REQUIRES(q->struct_lock)
{
	uint32_t old = q->version;
	int ret;

	co_mutex_lock(&q->alloc_lock);
	q->version = version;
	ret = qcow2_co_update_header(q, err);
	if (ret) {
		q->version = old;
		qcow2_co_settle_header(q);
	} else if (version < 3) {
		/* What the header no longer says. */
		q->incompatible_features = q->compatible_features = q->autoclear_features = 0;
		q->compression_type = QCOW2_COMPRESSION_ZLIB;
		g_clear_pointer(&q->unknown_fields, g_bytes_unref);
	}
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

static int co_flush(struct qcow2 *q, GError **err) REQUIRES(q->struct_lock)
{
	int ret = qcow2_co_flush_and_reclaim(q) ?: qcow2_co_end_lazy(q);

	return ret ? error_set(err, ret, "cannot flush the image") : 0;
}

static int co_apply(struct qcow2 *q, const struct amendment *to,
		    const struct amend_progress *progress, GError **err) REQUIRES(q->struct_lock)
{
	int ret = co_flush(q, err);

	/* Version 2 knows only zlib. */
	if (!ret && to->version < 3 && q->compression_type != QCOW2_COMPRESSION_ZLIB)
		ret = qcow2_amend_co_check_uncompressed(q, err);
	if (!ret && to->version > q->version)
		ret = co_set_version(q, to->version, err);
	if (!ret && to->refcount_order != q->refcount_order)
		ret = qcow2_amend_co_refcount_order(q, to->refcount_order, progress, err);
	if (!ret && q->version >= 3)
		ret = co_set_features(q, to, err);
	if (!ret && to->size != image_size(q->img))
		ret = qcow2_co_resize_locked(q, to->size, IMAGE_PREALLOC_OFF, err);
	if (!ret && to->version < q->version)
		ret = qcow2_amend_co_expand_zeroes(q, progress, err)
			      ?: co_set_version(q, to->version, err);
	return ret;
}

int qcow2_co_amend(struct image *img, GHashTable *options,
		   void (*report)(void *arg, uint64_t done, uint64_t total), void *arg,
		   GError **err)
{
	const struct amend_progress progress = { report, arg };
	struct qcow2 *q = img->opaque;
	struct amendment to;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	ret = parse_options(q, options, &to, err) ?: check(q, &to, err);
	if (!ret)
		ret = co_apply(q, &to, &progress, err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}
