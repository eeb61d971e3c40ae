// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The state of a virtual machine, beside the guest's requests: parts of it are written, and each of
 * its sectors must hold the last write that a flush made durable, or a later one.
 *
 * What sets a size or restores a snapshot moves or replaces the state: from then on, only sectors
 * that were written since are known.
 */
#include <string.h>

#include "align.h"
#include "structural.h"

#define AREA_SECTORS 256u
#define MAX_SECTORS  64u
#define MAX_NOTED    4096u
#define WORDS	     (SECTOR_SIZE / sizeof(uint64_t)) /* of a sector */
#define NONE	     (-1)

struct written {
	unsigned sizes; /* that the disk had been set to before */
	unsigned first, sectors;
	uint64_t began, ended;
};

/* A flush that succeeded. */
struct flushed {
	uint64_t began, ended;
};

/* Flat: the test frees it. */
struct book {
	unsigned nr_writes, nr_flushes;
	struct written writes[MAX_NOTED];
	struct flushed flushes[MAX_NOTED];
};

static struct book *book_of(struct structural *s)
{
	struct book *book = structural_recall(s, "vm-state");

	if (!book) {
		book = g_new0(struct book, 1);
		structural_remember(s, "vm-state", book);
	}
	return book;
}

/* ---- writing ---- */

/* Each word of a sector says which write it is from, and where it belongs. */
static uint64_t stamp_of(unsigned write, unsigned sector)
{
	return (uint64_t)(write + 1) << 32 | sector;
}

static int co_write(struct structural *s, struct book *book)
{
	unsigned number = book->nr_writes++;
	struct written *written = &book->writes[number];
	g_autofree uint64_t *words = g_malloc(MAX_SECTORS * SECTOR_SIZE);
	struct iovec iov;
	int ret;

	written->sizes = s->sizes->len;
	written->first = rng_below(&s->rng, AREA_SECTORS);
	written->sectors = rng_between(&s->rng, 1, MIN(MAX_SECTORS, AREA_SECTORS - written->first));
	for (unsigned i = 0; i < written->sectors * WORDS; i++)
		words[i] = stamp_of(number, written->first + i / WORDS);
	/* Of one that fails, any part may be there at any time. */
	written->ended = UINT64_MAX;
	written->began = structural_now(s);
	ret = image_co_write_vm_state(s->img, (uint64_t)written->first * SECTOR_SIZE,
				      (uint64_t)written->sectors * SECTOR_SIZE,
				      IOBUF(&iov, words, written->sectors * SECTOR_SIZE));
	if (!ret)
		written->ended = structural_now(s);
	return ret;
}

static int co_flush(struct structural *s, struct book *book)
{
	struct flushed flushed = { .began = structural_now(s) };
	int ret = image_co_flush(s->img);

	flushed.ended = structural_now(s);
	if (!ret)
		book->flushes[book->nr_flushes++] = flushed;
	return ret;
}

static int co_perform(struct structural *s)
{
	struct book *book = book_of(s);
	int ret = 0;

	for (unsigned i = rng_between(&s->rng, 1, 4); !ret && i && book->nr_writes < MAX_NOTED; i--)
		ret = co_write(s, book);
	if (!ret && rng_percent(&s->rng, 60) && book->nr_flushes < MAX_NOTED)
		ret = co_flush(s, book);
	return ret;
}

/* ---- verifying ---- */

static bool covers(const struct written *written, unsigned sector)
{
	return sector >= written->first && sector - written->first < written->sectors;
}

static bool is_durable(const struct book *book, const struct written *written, uint64_t cut)
{
	for (unsigned i = 0; i < book->nr_flushes; i++)
		if (book->flushes[i].began >= written->ended && book->flushes[i].ended <= cut)
			return true;
	return false;
}

static unsigned sizes_at(const struct structural *s, uint64_t cut)
{
	unsigned count = 0;

	while (count < s->sizes->len &&
	       g_array_index(s->sizes, struct structural_size, count).since <= cut)
		count++;
	return count;
}

/* The last durable write to a sector, or NONE. False: nothing is known of it. */
static bool find_durable(const struct structural *s, const struct book *book, unsigned sector,
			 uint64_t cut, int *ret_write)
{
	unsigned sizes = sizes_at(s, cut);

	*ret_write = NONE;
	for (unsigned i = 0; i < book->nr_writes; i++) {
		const struct written *written = &book->writes[i];

		if (written->sizes == sizes && covers(written, sector) &&
		    is_durable(book, written, cut))
			*ret_write = i;
	}
	return *ret_write != NONE || !sizes;
}

/* The write that a sector is from, or NONE; false: it is from none. */
static bool parse_sector(const uint64_t *words, unsigned sector, int *ret_write)
{
	unsigned write = words[0] >> 32;

	for (unsigned i = 0; i < WORDS; i++)
		if (words[i] != (write ? stamp_of(write - 1, sector) : 0))
			return false;
	*ret_write = write ? (int)write - 1 : NONE;
	return true;
}

static char *check_sector(const struct structural *s, const struct book *book, unsigned sector,
			  const uint64_t *words, uint64_t cut)
{
	int durable, found = NONE;

	if (!find_durable(s, book, sector, cut, &durable))
		return NULL;
	if (parse_sector(words, sector, &found) &&
	    (found == durable ||
	     (found > durable && found < (int)book->nr_writes &&
	      covers(&book->writes[found], sector) && book->writes[found].began <= cut)))
		return NULL;
	return g_strdup_printf("sector %u holds write %d (%#" G_GINT64_MODIFIER
			       "x), write %d was durable",
			       sector, found, words[0], durable);
}

static char *co_verify(struct structural *s, const struct structural_view *view)
{
	const struct book *book = book_of(s);
	g_autofree uint64_t *words = g_malloc(AREA_SECTORS * SECTOR_SIZE);
	struct iovec iov;
	char *failure = NULL;
	int ret;

	if (!book->nr_writes)
		return NULL;
	ret = image_co_read_vm_state(view->img, 0, AREA_SECTORS * SECTOR_SIZE,
				     IOBUF(&iov, words, AREA_SECTORS * SECTOR_SIZE));
	if (ret)
		return g_strdup_printf("read failed: %s", strerror(-ret));
	for (unsigned sector = 0; !failure && sector < AREA_SECTORS; sector++)
		failure = check_sector(s, book, sector, words + sector * WORDS, view->cut);
	return failure;
}

static bool has_vm_state(const struct image_spec *spec)
{
	return g_str_equal(spec->format, "qcow2") && !spec->data_file_raw;
}

const struct structural_op structural_vm_state = {
	.name = "vm-state",
	.fits = has_vm_state,
	.co_perform = co_perform,
	.co_verify = co_verify,
};
