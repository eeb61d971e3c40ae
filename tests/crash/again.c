// SPDX-License-Identifier: GPL-2.0-or-later
/* An image is used again after a power cut, and suffers another one; see afterwards.h. */
#include <stdlib.h>
#include <string.h>

#include "afterwards.h"
#include "replay.h"

#define MORE_REQUESTS 24
#define MORE_CUTS     3

/* A disk that is used again: a layer on the first disk, and what is done to it. */
struct second_life {
	struct memdisk *before;
	struct memdisk *live;
	struct memnode node;
};

/* What is done after the first cut. */
struct again {
	struct aftermath *first;
	struct second_life file;
	struct second_life data; /* of an external data file, if there is one */
	struct history history;
	struct image *img;
	struct rng rng;
};

static void second_life_begin(struct second_life *life, struct memdisk *before, uint64_t seed)
{
	life->before = before;
	life->live = memdisk_new(before);
	memnode_init(&life->node, life->live, seed);
	memnode_start_log(&life->node);
}

static void second_life_end(struct second_life *life)
{
	if (!life->live)
		return;
	memnode_destroy(&life->node);
	memdisk_free(life->live);
}

static void again_init(struct again *again, struct aftermath *first, uint64_t seed)
{
	*again = (struct again){ .first = first };
	again->rng = rng_of(seed, 0x6d6f7265);
	second_life_begin(&again->file, first->disk, seed);
	if (first->data_disk) {
		second_life_begin(&again->data, first->data_disk, seed);
		again->data.node.clock = &again->file.node;
		again->file.node.data = &again->data.node;
	}
	history_init(&again->history, first->size, first->size, first->found);
}

static void again_destroy(struct again *again)
{
	history_destroy(&again->history);
	second_life_end(&again->data);
	second_life_end(&again->file);
}

/* ---- going on ---- */

static void draw(struct again *again, enum guest_op_kind *kind, uint64_t *off, uint64_t *bytes)
{
	static const enum guest_op_kind kinds[] = { GUEST_FLUSH, GUEST_DISCARD, GUEST_ZERO };
	uint64_t ticket = rng_below(&again->rng, 8);
	uint64_t size = image_size(again->img);

	*kind = ticket < G_N_ELEMENTS(kinds) ? kinds[ticket] : GUEST_WRITE;
	*off = rng_below(&again->rng, size / SECTOR_SIZE) * SECTOR_SIZE;
	*bytes = rng_between(&again->rng, 1, 64) * SECTOR_SIZE;
	*bytes = *kind == GUEST_FLUSH ? 0 : MIN(*bytes, size - *off);
}

static int co_request(struct again *again, enum guest_op_kind kind, uint64_t off, uint64_t bytes)
{
	struct image *img = again->img;
	g_autofree uint8_t *buf = g_malloc(bytes);
	uint32_t version = history_begin(&again->history, kind, off, bytes, false,
					 memnode_tick(&again->file.node));
	int ret;

	if (kind == GUEST_FLUSH) {
		ret = image_co_flush(img);
	} else if (kind == GUEST_DISCARD) {
		ret = image_co_pdiscard(img, off, bytes);
	} else if (kind == GUEST_ZERO) {
		ret = image_co_pwrite_zeroes(img, off, bytes, IMAGE_REQ_MAY_UNMAP);
	} else {
		stamp_fill(buf, off, bytes, version);
		ret = image_co_pwrite(img, off, bytes, buf, 0);
	}
	history_end(&again->history, version, memnode_tick(&again->file.node), ret < 0);
	return ret;
}

static char *co_use(struct again *again)
{
	g_autoptr(GError) err = NULL;
	struct image_open_opts opts = { .format = again->first->spec->format, .flags = IMAGE_RDWR };
	enum guest_op_kind kind;
	uint64_t off, bytes;
	int ret = 0;

	if (memnode_co_open_image(&again->file.node, again->first->filename, &opts, &again->img,
				  &err) < 0)
		return g_strdup_printf("the image does not open: %s", err->message);
	for (unsigned i = 0; ret >= 0 && i < MORE_REQUESTS; i++) {
		draw(again, &kind, &off, &bytes);
		ret = co_request(again, kind, off, bytes);
	}
	if (ret >= 0)
		ret = co_request(again, GUEST_FLUSH, 0, 0);
	if (ret < 0) {
		image_co_close(again->img);
		return g_strdup_printf("a request failed: %s", strerror(-ret));
	}
	ret = image_co_close(again->img);
	return ret < 0 ? g_strdup_printf("close failed: %s", strerror(-ret)) : NULL;
}

/* ---- looking at it ---- */

/* @data: of the external data file; NULL if there is none. */
static char *co_look(struct again *again, struct memdisk *disk, struct memdisk *data, uint64_t cut)
{
	struct aftermath after = {
		.spec = again->first->spec,
		.filename = again->first->filename,
		.folder = again->first->folder,
		.disk = disk,
		.data_disk = data,
		.history = &again->history,
		.cut = cut,
		.leaks_allowed = true,
	};
	char *failure = aftermath_co_check(&after);

	if (!failure && after.dirty)
		failure = aftermath_co_repair(&after);
	aftermath_destroy(&after);
	return failure;
}

static int compare_ticks(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static char *co_cut_again(struct again *again)
{
	struct replay file, data;
	bool has_data = again->data.live;
	uint64_t cuts[MORE_CUTS];
	char *failure = NULL;

	for (unsigned i = 0; i < MORE_CUTS; i++)
		cuts[i] = rng_between(&again->rng, 1, again->file.node.ticks);
	qsort(cuts, MORE_CUTS, sizeof(*cuts), compare_ticks);
	replay_init(&file, again->file.before, again->file.node.log);
	file.grows_ahead = again->file.node.tells_holes;
	if (has_data)
		replay_init(&data, again->data.before, again->data.node.log);
	for (unsigned i = 0; i < MORE_CUTS && !failure; i++) {
		struct memdisk *disk = replay_cut(&file, cuts[i], &again->rng);
		struct memdisk *more = has_data ? replay_cut(&data, cuts[i], &again->rng) : NULL;
		g_autofree char *reason = co_look(again, disk, more, cuts[i]);

		if (reason)
			failure = g_strdup_printf("cut again at tick %" G_GUINT64_FORMAT ": %s",
						  cuts[i], reason);
		again->first->cuts_again++;
		memdisk_free(more);
		memdisk_free(disk);
	}
	if (has_data)
		replay_destroy(&data);
	replay_destroy(&file);
	return failure;
}

char *aftermath_co_continue(struct aftermath *after, uint64_t seed)
{
	struct again again;
	g_autofree char *reason = NULL;

	again_init(&again, after, seed);
	reason = co_use(&again);
	if (!reason)
		reason = co_look(&again, again.file.live, again.data.live, again.file.node.ticks);
	if (!reason)
		reason = co_cut_again(&again);
	again_destroy(&again);
	return reason ? g_strconcat("used again after the cut: ", reason, NULL) : NULL;
}
