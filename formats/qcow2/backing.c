// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Changes the name of the backing file in the header. Everything that the image holds in memory is
 * durable before that, so that a power cut leaves the old name, or the new one with all that was
 * written for it.
 */
#include "qcow2.h"
#include "rules.h"

static int check(const struct qcow2 *q, const char *filename, GError **err)
{
	if (!filename || !q->data_file_raw)
		return 0;
	return error_refuse(err, -EINVAL,
			    "an image whose data file must stay valid as a raw image "
			    "(data_file_raw) cannot have a backing file");
}

/* @filename and @format get what the image had before. */
static void swap_names(struct image *img, char **filename, char **format)
{
	char *old_filename = img->backing_filename, *old_format = img->backing_format;

	img->backing_filename = *filename;
	img->backing_format = *format;
	*filename = old_filename;
	*format = old_format;
}

static int co_write_names(struct qcow2 *q, const char *filename, const char *format, GError **err)
	REQUIRES(q->struct_lock)
{
	g_autofree char *other_filename = g_strdup(filename), *other_format = g_strdup(format);
	int ret;

	co_mutex_lock(&q->alloc_lock);
	swap_names(q->img, &other_filename, &other_format);
	ret = qcow2_co_update_header(q, err);
	/* C6: the new names may be on disk even so. */
	if (ret) {
		swap_names(q->img, &other_filename, &other_format);
		qcow2_co_settle_header(q);
	}
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

int qcow2_co_set_backing(struct image *img, const char *filename, const char *format, GError **err)
{
	struct qcow2 *q = img->opaque;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	ret = check(q, filename, err);
	if (!ret && !RULE_BROKEN(RULE_REBASE_DURABLE)) {
		ret = qcow2_co_flush_all(q);
		if (ret)
			error_set(err, ret, "cannot flush the image");
	}
	ret = ret ?: co_write_names(q, filename, format, err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}
