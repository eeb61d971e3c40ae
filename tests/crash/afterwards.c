// SPDX-License-Identifier: GPL-2.0-or-later
/* What an image must fulfil after a power cut; see afterwards.h. */
#include "afterwards.h"

#include <errno.h>
#include <string.h>

#include "memnode.h"
#include "scratch.h"

#define READ_BYTES   (64u << 10)

#define MAX_FINDINGS 5

/* The image, open on the disk. */
struct reopened {
	struct memnode node, data;
	struct image *img;
};

static char *co_reopen(struct aftermath *after, unsigned flags, struct reopened *ret)
{
	g_autoptr(GError) err = NULL;
	struct image_open_opts opts = { .format = after->spec->format, .flags = flags };

	memnode_init(&ret->node, after->disk, after->cut);
	memnode_init(&ret->data, after->data_disk, after->cut);
	ret->node.data = after->data_disk ? &ret->data : NULL;
	if (memnode_co_open_image(&ret->node, after->filename, &opts, &ret->img, &err) == 0)
		return NULL;
	memnode_destroy(&ret->data);
	memnode_destroy(&ret->node);
	return g_strdup_printf("the image does not open: %s", err->message);
}

static char *co_close(struct reopened *reopened)
{
	int ret = image_co_close(reopened->img);

	memnode_destroy(&reopened->data);
	memnode_destroy(&reopened->node);
	return ret < 0 ? g_strdup_printf("close failed: %s", strerror(-ret)) : NULL;
}

/* ---- metadata ---- */

struct findings {
	GString *text;
	unsigned count;
};

static void add_finding(void *arg, const char *line)
{
	struct findings *findings = arg;

	if (findings->count++ < MAX_FINDINGS)
		g_string_append_printf(findings->text, "\n  %s", line);
}

static char *co_check_metadata(struct image *img, bool leaks_allowed)
{
	struct findings findings = { g_string_new(NULL), 0 };
	struct image_check_result result;
	char *failure = NULL;
	int ret = image_co_check(img, add_finding, &findings, &result);

	if (ret < 0 && ret != -ENOTSUP)
		failure = g_strdup_printf("check failed: %s", strerror(-ret));
	else if (ret == 0 &&
		 (result.corruptions || result.check_errors || (result.leaks && !leaks_allowed)))
		failure = g_strdup_printf(
			"check found %" G_GUINT64_FORMAT " corruptions, %" G_GUINT64_FORMAT
			" leaks, %" G_GUINT64_FORMAT " errors:%s",
			result.corruptions, result.leaks, result.check_errors, findings.text->str);
	g_string_free(findings.text, true);
	return failure;
}

/* ---- contents ---- */

/* Reads the whole disk, piece by piece, until something is wrong; @settled: see history.h. */
static char *co_read_all(struct aftermath *after, struct image *img, uint64_t settled)
{
	g_autofree uint8_t *buf = g_malloc(READ_BYTES);
	char *failure = NULL;

	for (uint64_t off = 0; !failure && off < image_size(img); off += READ_BYTES) {
		uint64_t bytes = MIN(READ_BYTES, image_size(img) - off);
		int ret = image_co_pread(img, off, bytes, buf);

		if (ret < 0)
			return g_strdup_printf("read at %#" G_GINT64_MODIFIER "x failed: %s", off,
					       strerror(-ret));
		for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE)
			stamp_parse(buf + done, off + done,
				    &after->found[(off + done) / SECTOR_SIZE]);
		failure = history_check_cut(after->history, after->cut, settled, off, bytes, buf);
	}
	return failure;
}

static int co_open_once_more(const struct structural_view *view, const struct image_open_opts *opts,
			     struct image **ret_img, GError **err)
{
	const struct aftermath *after = view->arg;

	return memnode_co_open_image(after->once_more, after->filename, opts, ret_img, err);
}

static char *co_check_contents(struct aftermath *after, struct image *img)
{
	uint64_t settled = history_settled_at(after->history, after->cut);
	struct structural_view view = { img, after->cut, co_open_once_more, after };
	char *failure;

	if (!history_size_is_allowed(after->history, after->cut, settled, image_size(img)))
		return g_strdup_printf("the size of the disk is %" G_GUINT64_FORMAT,
				       image_size(img));
	after->size = image_size(img);
	failure = co_read_all(after, img, settled);
	if (failure || !after->structural)
		return failure;
	return structural_co_verify(after->structural, &view);
}

static bool co_is_dirty(struct image *img)
{
	struct image_info info;
	gboolean corrupt = FALSE;
	bool dirty;

	if (image_co_get_info(img, &info, NULL) < 0)
		return false;
	if (info.specific)
		g_variant_lookup(info.specific, "corrupt", "b", &corrupt);
	dirty = info.dirty || corrupt;
	image_info_clear(&info);
	return dirty;
}

char *aftermath_co_check(struct aftermath *after)
{
	struct reopened reopened;
	char *failure = co_reopen(after, 0, &reopened);
	char *close_failure;

	if (failure)
		return failure;
	after->once_more = &reopened.node;
	after->dirty = co_is_dirty(reopened.img);
	after->found = g_new0(uint32_t, after->history->sectors);
	if (!after->dirty)
		failure = co_check_metadata(reopened.img, after->leaks_allowed);
	if (!failure)
		failure = co_check_contents(after, reopened.img);
	close_failure = co_close(&reopened);
	if (!failure)
		return close_failure;
	g_free(close_failure);
	return failure;
}

static char *co_open_for_repair(struct aftermath *after)
{
	struct reopened reopened;
	char *failure = co_reopen(after, IMAGE_RDWR, &reopened);

	return failure ? failure : co_close(&reopened);
}

char *aftermath_co_repair(struct aftermath *after)
{
	g_autofree uint32_t *before = g_steal_pointer(&after->found);
	g_autofree char *reason = NULL;
	char *failure;

	failure = co_open_for_repair(after);
	if (!failure)
		failure = aftermath_co_check(after);
	if (!failure && after->dirty)
		failure = g_strdup("it is not repaired");
	if (!failure && memcmp(before, after->found, after->history->sectors * sizeof(*before)))
		failure = g_strdup("the repair changed what it holds");
	reason = failure;
	return reason ? g_strconcat("opened for writing: ", failure, NULL) : NULL;
}

char *aftermath_check_by_qemu_img(struct aftermath *after)
{
	g_autofree char *file = scratch_file(after->folder, "for-qemu-img");
	char *failure = NULL;

	if (!g_str_equal(after->spec->format, "qcow2"))
		return NULL;
	if (memdisk_save(after->disk, file) < 0)
		return g_strdup_printf("%s: cannot be written", file);
	qemu_img_check(file, after->leaks_allowed, &failure);
	return failure;
}

void aftermath_destroy(struct aftermath *after)
{
	g_free(after->found);
}
