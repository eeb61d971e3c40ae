// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img compare: checks whether two images have the same contents.
 *
 * Workers on several threads take pieces in order from a cursor, which leaves out what is zero in
 * both images, and compare them in any order. Of what they find, the first in the order of offsets
 * counts: pieces before it are still compared, pieces behind it are not.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "align.h"
#include "cache_mode.h"
#include "colock.h"
#include "extents.h"
#include "img.h"
#include "loops.h"
#include "progress.h"

#define PIECE_BYTES	   (512 * 1024)
#define WORKERS_PER_THREAD 4
#define MAX_THREADS	   8

/* The exit status, as qemu-img's. */
enum {
	COMPARE_SAME = 0,
	COMPARE_DIFFERENT = 1,
	COMPARE_CANNOT_OPEN = 2,
	COMPARE_CANNOT_GET_STATUS = 3,
	COMPARE_CANNOT_READ = 4,
};

/* One of the two images. */
struct side {
	const char *filename;
	const char *format;
	struct image *img;
	uint64_t size;
	struct extents extents;
};

/* What is known of a side from an offset on. */
struct known {
	uint64_t end;
	unsigned flags; /* IMAGE_EXTENT_* */
};

enum finding_kind {
	FOUND_NOTHING,
	FOUND_CONTENT, /* it differs */
	FOUND_STATUS,  /* it differs */
	FOUND_NO_STATUS,
	FOUND_NO_DATA,
};

struct finding {
	enum finding_kind kind;
	uint64_t off;
	const struct side *side; /* for errors */
	int error;
};

struct compare {
	struct side sides[2];
	unsigned open_flags;
	bool strict, quiet, show_progress;

	uint64_t size; /* of the larger image */
	struct coroutine *waiter;
	void *buffers; /* two for each worker */
	_Atomic unsigned started;
	_Atomic unsigned workers;

	struct co_mutex cursor_lock;
	uint64_t cursor GUARDED_BY(cursor_lock); /* start of the next piece */
	struct known known[2] GUARDED_BY(cursor_lock);
	struct progress progress GUARDED_BY(cursor_lock);

	struct thread_lock found_lock;
	struct finding found GUARDED_BY(found_lock);
	_Atomic uint64_t end; /* nothing behind it matters any more */
};

struct piece {
	uint64_t off;
	uint64_t bytes;
	bool data[2]; /* otherwise it reads as zeroes */
};

static void report(struct compare *c, const struct finding *finding)
{
	thread_lock(&c->found_lock);
	if (!c->found.kind || finding->off < c->found.off) {
		c->found = *finding;
		atomic_store(&c->end, finding->off);
	}
	thread_unlock(&c->found_lock);
}

/* ---- the pieces ---- */

/* Behind its end, an image counts as zeroes. */
static int co_learn(struct compare *c, unsigned number) REQUIRES(c->cursor_lock)
{
	const struct side *side = &c->sides[number];
	struct known *known = &c->known[number];
	struct image_extent extent;
	int ret;

	if (c->cursor < known->end)
		return 0;
	if (c->cursor >= side->size) {
		*known = (struct known){ c->size, IMAGE_EXTENT_ZERO };
		return 0;
	}
	ret = extents_co_get(&side->extents, c->cursor, side->size - c->cursor, &extent);
	if (ret)
		report(c, &(struct finding){ FOUND_NO_STATUS, c->cursor, side, ret });
	else
		*known = (struct known){ c->cursor + extent.bytes, extent.flags };
	return ret;
}

/* The part of an image up to the next place where what is known of either side ends. */
static struct piece next_extent(const struct compare *c) REQUIRES(c->cursor_lock)
{
	struct piece extent = {
		.off = c->cursor,
		.bytes = MIN(c->known[0].end, c->known[1].end) - c->cursor,
	};

	for (unsigned i = 0; i < 2; i++)
		extent.data[i] = !(c->known[i].flags & IMAGE_EXTENT_ZERO);
	return extent;
}

/* Takes what comes next; false if it need not be compared. */
static bool co_take_piece(struct compare *c, struct piece *piece) REQUIRES(c->cursor_lock)
{
	bool compare;

	if (co_learn(c, 0) || co_learn(c, 1))
		return false;
	if (c->strict && c->known[0].flags != c->known[1].flags) {
		report(c, &(struct finding){ .kind = FOUND_STATUS, .off = c->cursor });
		return false;
	}
	*piece = next_extent(c);
	compare = piece->data[0] || piece->data[1];
	if (compare)
		piece->bytes = MIN(piece->bytes, PIECE_BYTES - piece->off % PIECE_BYTES);
	c->cursor += piece->bytes;
	if (!compare)
		progress_add(&c->progress, piece->bytes);
	return compare;
}

/* Replaces a piece that is done; false at the end, and behind what was found. */
static bool co_next_piece(struct compare *c, struct piece *piece)
{
	bool taken = false;

	co_mutex_lock(&c->cursor_lock);
	progress_add(&c->progress, piece->bytes);
	while (!taken && c->cursor < atomic_load(&c->end))
		taken = co_take_piece(c, piece);
	co_mutex_unlock(&c->cursor_lock);
	return taken;
}

/* ---- one piece ---- */

/* The first sector in which they differ; as in QEMU, that is as exact as it gets. */
static uint64_t first_difference(const char *a, const char *b, uint64_t bytes)
{
	uint64_t off = 0;

	while (off < bytes && !memcmp(a + off, b + off, MIN(SECTOR_SIZE, bytes - off)))
		off += SECTOR_SIZE;
	return off;
}

static uint64_t first_data(const char *buf, uint64_t bytes)
{
	uint64_t off = 0;

	while (off < bytes && buffer_is_zero(buf + off, MIN(SECTOR_SIZE, bytes - off)))
		off += SECTOR_SIZE;
	return off;
}

static void compare_data(struct compare *c, const struct piece *piece, char *const bufs[2])
{
	struct finding finding = { .kind = FOUND_CONTENT, .off = piece->off };

	if (piece->data[0] && piece->data[1]) {
		if (memcmp(bufs[0], bufs[1], piece->bytes) == 0)
			return;
		finding.off += first_difference(bufs[0], bufs[1], piece->bytes);
	} else {
		const char *buf = bufs[piece->data[0] ? 0 : 1];

		if (buffer_is_zero(buf, piece->bytes))
			return;
		finding.off += first_data(buf, piece->bytes);
	}
	report(c, &finding);
}

/* Returns the side that cannot be read, or NULL. */
static const struct side *co_read(struct compare *c, const struct piece *piece, char *const bufs[2],
				  int *ret_error)
{
	for (unsigned i = 0; i < 2; i++) {
		int ret = piece->data[i] ? image_co_pread(c->sides[i].img, piece->off, piece->bytes,
							  bufs[i])
					 : 0;

		if (ret) {
			*ret_error = ret;
			return &c->sides[i];
		}
	}
	return NULL;
}

/* If part of it cannot be read, what lies before that part still counts. */
static void co_compare_piece(struct compare *c, const struct piece *piece, char *const bufs[2])
{
	const struct side *unread;
	struct piece half = *piece;
	int error;

	if (piece->off >= atomic_load(&c->end))
		return;
	unread = co_read(c, piece, bufs, &error);
	if (!unread) {
		compare_data(c, piece, bufs);
		return;
	}
	if (piece->bytes <= SECTOR_SIZE) {
		report(c, &(struct finding){ FOUND_NO_DATA, piece->off, unread, error });
		return;
	}
	half.bytes = align_up(piece->bytes / 2, SECTOR_SIZE);
	co_compare_piece(c, &half, bufs);
	half.off += half.bytes;
	half.bytes = piece->bytes - half.bytes;
	if (half.bytes)
		co_compare_piece(c, &half, bufs);
}

static void worker_co(void *arg)
{
	struct compare *c = arg;
	unsigned number = atomic_fetch_add(&c->started, 1);
	char *bufs[2] = {
		iobuf_array_at(c->buffers, 2 * number, PIECE_BYTES),
		iobuf_array_at(c->buffers, 2 * number + 1, PIECE_BYTES),
	};
	struct piece piece = {};

	while (co_next_piece(c, &piece))
		co_compare_piece(c, &piece, bufs);
	if (atomic_fetch_sub(&c->workers, 1) == 1)
		co_wake(c->waiter);
}

/* ---- what was found ---- */

static void G_GNUC_PRINTF(2, 3) say(const struct compare *c, const char *fmt, ...)
{
	va_list args;

	if (c->quiet)
		return;
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
}

static int tell_finding(const struct compare *c, const struct finding *finding)
{
	const struct side *side = finding->side;

	switch (finding->kind) {
	case FOUND_NOTHING:
		say(c, "Images are identical.\n");
		return COMPARE_SAME;
	case FOUND_CONTENT:
		say(c, "Content mismatch at offset %" PRIu64 "!\n", finding->off);
		return COMPARE_DIFFERENT;
	case FOUND_STATUS:
		say(c, "Strict mode: Offset %" PRIu64 " block status mismatch!\n", finding->off);
		return COMPARE_DIFFERENT;
	case FOUND_NO_STATUS:
		tool_error("Sector allocation test failed for %s", side->filename);
		return COMPARE_CANNOT_GET_STATUS;
	case FOUND_NO_DATA:
		tool_error("Error while reading offset %" PRIu64 " of %s: %s", finding->off,
			   side->filename, g_strerror(-finding->error));
		return COMPARE_CANNOT_READ;
	}
	g_assert_not_reached();
}

/* As in QEMU, the line of the progress ends behind the result. */
static int tell(struct compare *c) NO_THREAD_SAFETY_ANALYSIS
{
	uint64_t common = MIN(c->sides[0].size, c->sides[1].size);
	int status;

	if (common < c->size && (!c->found.kind || c->found.off >= common))
		say(c, "Warning: Image size mismatch!\n");
	if (!c->found.kind)
		progress_complete(&c->progress);
	status = tell_finding(c, &c->found);
	progress_end(&c->progress, true);
	return status;
}

/* ---- the comparison ---- */

static void co_run_workers(struct compare *c, struct loops *loops) NO_THREAD_SAFETY_ANALYSIS
{
	unsigned nr = loops->nr * WORKERS_PER_THREAD;

	co_mutex_init(&c->cursor_lock);
	thread_lock_init(&c->found_lock);
	c->workers = nr;
	c->waiter = co_self();
	c->buffers = try_iobuf_alloc_array(2 * nr, PIECE_BYTES);
	if (!c->buffers)
		report(c, &(struct finding){ FOUND_NO_DATA, 0, &c->sides[0], -ENOMEM });
	for (unsigned i = 0; i < nr && c->buffers; i++)
		co_start_on(loops_at(loops, i % loops->nr), worker_co, c);
	if (c->buffers)
		co_yield();
	iobuf_free(c->buffers);
	thread_lock_destroy(&c->found_lock);
	co_mutex_destroy(&c->cursor_lock);
}

static int co_compare_opened(struct compare *c) NO_THREAD_SAFETY_ANALYSIS
{
	struct loops *loops;

	for (unsigned i = 0; i < 2; i++) {
		c->sides[i].size = image_size(c->sides[i].img);
		extents_co_init(&c->sides[i].extents, c->sides[i].img);
	}
	if (c->strict && c->sides[0].size != c->sides[1].size) {
		say(c, "Strict mode: Image size mismatch!\n");
		return COMPARE_DIFFERENT;
	}
	loops = loops_new(MIN(g_get_num_processors(), MAX_THREADS));
	if (!loops)
		return COMPARE_CANNOT_READ;
	c->size = MAX(c->sides[0].size, c->sides[1].size);
	c->end = c->size;
	progress_start(&c->progress, c->show_progress, c->size);
	co_run_workers(c, loops);
	loops_free(loops);
	return tell(c);
}

static int co_compare(void *arg)
{
	struct compare *c = arg;
	int status = COMPARE_CANNOT_OPEN;

	if (!tool_co_open(c->sides[0].filename, c->sides[0].format, c->open_flags,
			  &c->sides[0].img) &&
	    !tool_co_open(c->sides[1].filename, c->sides[1].format, c->open_flags,
			  &c->sides[1].img))
		status = co_compare_opened(c);
	image_co_close(c->sides[1].img);
	image_co_close(c->sides[0].img);
	return status;
}

int img_compare(const struct command *command, char **argv)
{
	g_autofree char *format_a = NULL, *format_b = NULL, *cache = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, force_share = FALSE, strict = FALSE, quiet = FALSE,
		 progress = FALSE;
	const GOptionEntry entries[] = {
		{ "a-format", 'f', 0, G_OPTION_ARG_FILENAME, &format_a,
		  "Format of FILENAME1 (default: probed)", "FMT" },
		{ "b-format", 'F', 0, G_OPTION_ARG_FILENAME, &format_b,
		  "Format of FILENAME2 (default: probed)", "FMT" },
		{ "strict", 's', 0, G_OPTION_ARG_NONE, &strict, "Also compare sizes and allocation",
		  NULL },
		{ "cache", 'T', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of the images (default: writeback)", "CACHE" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the images even if another program is writing to them", NULL },
		{ "progress", 'p', 0, G_OPTION_ARG_NONE, &progress, "Show the progress", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME1 FILENAME2" },
		{},
	};
	struct cache_mode mode = { 0 };
	struct compare c = { 0 };

	if (!command_parse(command, entries, argv))
		return 1;
	if (!filenames || !filenames[1] || filenames[2])
		return command_usage_error(command, "Expecting two image file names");
	if (!tool_take_image_opts(image_opts, format_a, &filenames[0]) ||
	    !tool_take_image_opts(image_opts, format_b, &filenames[1]))
		return COMPARE_CANNOT_OPEN;
	if (cache && !cache_mode_parse(cache, &mode)) {
		tool_error("Invalid source cache option: %s", cache);
		return COMPARE_CANNOT_OPEN;
	}
	c.sides[0] = (struct side){ .filename = filenames[0], .format = format_a };
	c.sides[1] = (struct side){ .filename = filenames[1], .format = format_b };
	c.open_flags = IMAGE_BEAR_WRITERS | mode.open_flags | (force_share ? IMAGE_FORCE_SHARE : 0);
	c.strict = strict;
	c.quiet = quiet;
	c.show_progress = progress && !quiet;
	return tool_run_co(co_compare, &c);
}
