// SPDX-License-Identifier: GPL-2.0-or-later
/* What is demanded of an image after a power cut; see afterwards.h. */
#include "afterwards.h"

#include <errno.h>
#include <string.h>

#include "memnode.h"
#include "model.h"
#include "scratch.h"

#define READ_BYTES    (64u << 10)

/* How much is written to an image that goes on being used. */
#define MORE_REQUESTS 24

#define MAX_FINDINGS  5

/* Versions of the writes after the cut: far from those of the workload. */
#define VERSION_AFTER 0x40000000u

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

/* Calls check(arg, ...) with all of the disk, piece by piece, until it finds something. */
static char *co_read_all(struct image *img,
			 char *(*check)(void *arg, uint64_t off, uint64_t bytes, const void *buf),
			 void *arg)
{
	g_autofree uint8_t *buf = g_malloc(READ_BYTES);
	char *failure = NULL;

	for (uint64_t off = 0; !failure && off < image_size(img); off += READ_BYTES) {
		uint64_t bytes = MIN(READ_BYTES, image_size(img) - off);
		int ret = image_co_pread(img, off, bytes, buf);

		if (ret < 0)
			failure = g_strdup_printf("read at %#" G_GINT64_MODIFIER "x failed: %s",
						  off, strerror(-ret));
		else
			failure = check(arg, off, bytes, buf);
	}
	return failure;
}

struct history_check {
	struct aftermath *after;
	uint64_t settled;
	uint32_t *found;
};

static char *check_by_history(void *arg, uint64_t off, uint64_t bytes, const void *buf)
{
	struct history_check *check = arg;
	struct aftermath *after = check->after;

	for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE)
		stamp_parse((const char *)buf + done, off + done,
			    &check->found[(off + done) / SECTOR_SIZE]);
	return history_check_cut(after->history, after->cut, check->settled, off, bytes, buf);
}

static char *check_by_model(void *arg, uint64_t off, uint64_t bytes, const void *buf)
{
	return model_check(arg, off, bytes, buf);
}

static int co_open_once_more(const struct structural_view *view, const struct image_open_opts *opts,
			     struct image **ret_img, GError **err)
{
	const struct aftermath *after = view->arg;

	return memnode_co_open_image(after->once_more, after->filename, opts, ret_img, err);
}

static char *co_check_contents(struct aftermath *after, struct image *img, uint32_t *found)
{
	uint64_t settled = history_settled_at(after->history, after->cut);
	struct history_check check = { after, settled, found };
	struct structural_view view = { img, after->cut, co_open_once_more, after };
	char *failure;

	if (!history_size_is_allowed(after->history, after->cut, settled, image_size(img)))
		return g_strdup_printf("the size of the disk is %" G_GUINT64_FORMAT,
				       image_size(img));
	after->size = image_size(img);
	failure = co_read_all(img, check_by_history, &check);
	return failure ? failure : structural_co_verify(after->structural, &view);
}

static bool co_is_dirty(struct image *img)
{
	struct image_info info;
	bool dirty;

	if (image_co_get_info(img, &info) < 0)
		return false;
	dirty = info.dirty || info.corrupt;
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
		failure = co_check_contents(after, reopened.img, after->found);
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

/* ---- going on ---- */

static int co_do_more(struct image *img, struct model *model, struct rng *rng, uint32_t version)
{
	uint64_t off = rng_below(rng, image_size(img) / SECTOR_SIZE) * SECTOR_SIZE;
	uint64_t bytes = rng_between(rng, 1, 64) * SECTOR_SIZE;
	g_autofree uint8_t *buf = NULL;

	bytes = MIN(bytes, image_size(img) - off);
	switch (rng_below(rng, 8)) {
	case 0:
		return image_co_flush(img);
	case 1:
		model_discarded(model, off, bytes);
		return image_co_pdiscard(img, off, bytes);
	case 2:
		model_written(model, off, bytes, VERSION_ZERO);
		return image_co_pwrite_zeroes(img, off, bytes, IMAGE_REQ_MAY_UNMAP);
	default:
		buf = g_malloc(bytes);
		stamp_fill(buf, off, bytes, version);
		model_written(model, off, bytes, version);
		return image_co_pwrite(img, off, bytes, buf, 0);
	}
}

static char *co_write_more(struct image *img, struct model *model, uint64_t seed)
{
	struct rng rng = rng_of(seed, 0x6d6f7265);
	int ret = 0;

	for (unsigned i = 0; ret >= 0 && i < MORE_REQUESTS; i++)
		ret = co_do_more(img, model, &rng, VERSION_AFTER + i);
	if (ret >= 0)
		ret = image_co_flush(img);
	return ret < 0 ? g_strdup_printf("a request failed: %s", strerror(-ret)) : NULL;
}

static char *co_check_more(struct aftermath *after, struct model *model)
{
	struct reopened reopened;
	char *failure = co_reopen(after, 0, &reopened);

	if (failure)
		return failure;
	failure = co_check_metadata(reopened.img, true);
	if (!failure)
		failure = co_read_all(reopened.img, check_by_model, model);
	g_free(co_close(&reopened));
	return failure;
}

static char *co_use_again(struct aftermath *after, struct model *model, uint64_t seed)
{
	struct reopened reopened;
	char *failure = co_reopen(after, IMAGE_RDWR, &reopened);
	char *close_failure;

	if (failure)
		return failure;
	failure = co_write_more(reopened.img, model, seed);
	close_failure = co_close(&reopened);
	if (!failure)
		return close_failure;
	g_free(close_failure);
	return failure;
}

char *aftermath_co_continue(struct aftermath *after, uint64_t seed)
{
	struct model model;
	char *failure;
	g_autofree char *reason = NULL;

	model_init(&model, after->size, after->size, after->found);
	failure = co_use_again(after, &model, seed);
	if (!failure)
		failure = co_check_more(after, &model);
	model_destroy(&model);
	reason = failure;
	return failure ? g_strconcat("used again after the cut: ", failure, NULL) : NULL;
}

void aftermath_destroy(struct aftermath *after)
{
	g_free(after->found);
}
