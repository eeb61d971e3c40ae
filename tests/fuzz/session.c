// SPDX-License-Identifier: GPL-2.0-or-later
/* What is done to an image that may be anything; see session.h. */
#include "session.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memnode.h"
#include "qcow2/layout.h"

#define RING_ENTRIES 16
/* How much of the guest's disk is tracked. */
#define MODEL_BYTES  (128u << 10)
#define MAX_REQUEST  (20u << 10)
#define NR_REQUESTS  12
#define MAX_EXTENTS  2000
/* Reads at places that depend only on the size of the disk. */
#define NR_FAR_READS 4
#define SECTOR	     512u

static struct aio_loop *loop;

struct session {
	struct memnode node;
	struct rng rng;
	struct image *img;
	/* Free of corruption at the start: it must stay so. */
	bool sound;
	uint8_t *model;	      /* what the first part of the disk must hold */
	uint64_t model_bytes; /* 0: unknown */
};

static void __attribute__((noreturn)) wrong(const char *what)
{
	fprintf(stderr, "session: %s\n", what);
	abort();
}

void session_init(void)
{
	g_autoptr(GError) err = NULL;

	loop = aio_loop_new(RING_ENTRIES, &err);
	if (!loop)
		g_error("no loop: %s", err->message);
}

/* ---- open and close ---- */

static int co_open(struct session *s, unsigned flags)
{
	g_autoptr(GError) err = NULL;
	/* No file of the host is opened, whatever the image says. */
	struct image_open_opts opts = {
		.format = "qcow2",
		.flags = flags | IMAGE_NO_BACKING,
		.cache_bytes = rng_percent(&s->rng, 50) ? 1 : 0,
	};
	int ret = memnode_co_open_image(&s->node, "fuzz", &opts, &s->img, &err);

	if ((ret < 0) != (err != NULL))
		wrong("an open that failed without an error, or did not and has one");
	return ret;
}

/* ---- what any image must stand ---- */

struct findings {
	uint64_t all;
	/*
	 * A cluster that only one entry points to, although that entry does not say so: safe.
	 * Sharing that no writer creates ends like that.
	 */
	uint64_t not_marked;
};

static void count_finding(void *arg, const char *line)
{
	struct findings *findings = arg;

	findings->all++;
	findings->not_marked += g_str_has_prefix(line, "ERROR OFLAG_COPIED") &&
				g_str_has_suffix(line, "refcount=1");
	/* For a person who investigates a failure. */
	if (getenv("FUZZ_VERBOSE"))
		fprintf(stderr, "check: %s\n", line);
}

/* Whether it can be checked and has no corruption. */
static bool co_check(struct session *s)
{
	struct image_check_result result = { 0 };
	struct findings findings = { 0 };
	int ret;

	if (co_open(s, IMAGE_FOR_CHECK) < 0)
		return false;
	ret = image_co_check(s->img, count_finding, &findings, &result);
	if (result.corruptions && !findings.all)
		wrong("a corruption that check does not name");
	image_co_close(s->img);
	return !ret && result.corruptions == findings.not_marked && !result.check_errors;
}

static void co_walk(struct session *s)
{
	uint64_t size = image_size(s->img), off = 0;
	struct image_extent extent;

	for (unsigned i = 0; off < size && i < MAX_EXTENTS; i++) {
		if (image_co_block_status_chain(s->img, off, size - off, &extent) < 0)
			return;
		if (!extent.bytes || extent.bytes > size - off)
			wrong("an extent of no bytes, or beyond the end");
		off += extent.bytes;
	}
}

static void co_read_far(struct session *s)
{
	uint64_t size = image_size(s->img);
	g_autofree uint8_t *buf = g_malloc(MAX_REQUEST);

	for (unsigned i = 0; size && i < NR_FAR_READS; i++) {
		uint64_t off = rng_percent(&s->rng, 50)
				       ? rng_below(&s->rng, size)
				       : size - 1 - rng_below(&s->rng, MIN(size, 1024));
		uint64_t bytes = MIN(MAX_REQUEST, size - off);

		image_co_pread(s->img, off, bytes, buf);
	}
}

static void co_learn(struct session *s)
{
	s->model_bytes = MIN(MODEL_BYTES, image_size(s->img));
	if (image_co_pread(s->img, 0, s->model_bytes, s->model) < 0)
		s->model_bytes = 0;
}

static bool co_look(struct session *s)
{
	struct image_info info;

	if (co_open(s, 0) < 0)
		return false;
	if (image_co_get_info(s->img, &info, NULL) == 0)
		image_info_clear(&info);
	co_walk(s);
	co_read_far(s);
	co_learn(s);
	image_co_close(s->img);
	return true;
}

/* ---- requests ---- */

/* A discarded sector keeps its contents or reads as zeroes; the first read shows which. */
static void co_settle_discard(struct session *s, uint64_t off, uint64_t bytes)
{
	static const uint8_t zeroes[SECTOR];
	g_autofree uint8_t *buf = g_malloc(bytes);

	if (image_co_pread(s->img, off, bytes, buf) < 0) {
		s->model_bytes = 0;
		return;
	}
	for (uint64_t i = 0; s->sound && i < bytes; i += SECTOR) {
		uint64_t part = MIN(SECTOR, bytes - i);

		if (memcmp(buf + i, zeroes, part) && memcmp(buf + i, s->model + off + i, part))
			wrong("a discarded sector holds neither what it did nor zeroes");
	}
	memcpy(s->model + off, buf, bytes);
}

static void co_request(struct session *s)
{
	uint64_t off = rng_below(&s->rng, s->model_bytes / SECTOR) * SECTOR;
	uint64_t bytes = rng_between(&s->rng, 1, MAX_REQUEST / SECTOR) * SECTOR;
	unsigned flags = rng_percent(&s->rng, 50) ? IMAGE_REQ_MAY_UNMAP : 0;
	int ret = 0;

	bytes = MIN(bytes, s->model_bytes - off);
	switch (rng_below(&s->rng, 6)) {
	case 0:
		ret = image_co_flush(s->img);
		break;
	case 1:
		ret = image_co_pdiscard(s->img, off, bytes);
		if (!ret)
			co_settle_discard(s, off, bytes);
		break;
	case 2:
		ret = image_co_pwrite_zeroes(s->img, off, bytes, flags);
		memset(s->model + off, 0, bytes);
		break;
	default:
		memset(s->model + off, 0x40 + rng_below(&s->rng, 64), bytes);
		ret = image_co_pwrite(s->img, off, bytes, s->model + off, 0);
	}
	/* A failed request may have been done in part. */
	if (ret < 0)
		s->model_bytes = 0;
}

static void co_compare(struct session *s)
{
	g_autofree uint8_t *buf = g_malloc(MODEL_BYTES);

	if (!s->model_bytes)
		return;
	if (image_co_pread(s->img, 0, s->model_bytes, buf) < 0)
		wrong("what was written cannot be read");
	if (memcmp(buf, s->model, s->model_bytes))
		wrong("the disk does not hold what was written");
}

static void co_use(struct session *s)
{
	if (co_open(s, IMAGE_RDWR | (rng_percent(&s->rng, 50) ? IMAGE_UNMAP : 0)) < 0)
		return;
	for (unsigned i = 0; i < NR_REQUESTS && s->model_bytes >= SECTOR; i++)
		co_request(s);
	if (s->sound)
		co_compare(s);
	if (image_co_close(s->img) < 0 && s->sound)
		s->model_bytes = 0;
}

/* ---- all of it ---- */

static void session_co(void *arg)
{
	struct session *s = arg;

	s->sound = co_check(s);
	if (!co_look(s))
		return;
	co_use(s);
	if (!s->sound)
		return;
	if (!co_check(s))
		wrong("a sound image was made corrupt");
	if (co_open(s, 0) < 0)
		wrong("an image that was written to does not open");
	co_compare(s);
	image_co_close(s->img);
}

/* Its data lies in another file, which would be one of the host's. */
static bool has_data_file(const struct memdisk *disk)
{
	struct qcow2_disk_header header;

	memdisk_read(disk, 0, sizeof(header), &header);
	return be64toh(header.incompatible_features) & QCOW2_INCOMPAT_DATA_FILE;
}

void session_run(struct memdisk *disk, uint64_t seed)
{
	struct session s = { .rng = rng_of(seed, 0x66757a7a) };

	if (has_data_file(disk))
		return;
	memnode_init(&s.node, disk, seed);
	s.node.max_size = SESSION_MAX_FILE;
	s.model = g_malloc0(MODEL_BYTES);
	aio_loop_run_co(loop, session_co, &s);
	g_free(s.model);
	memnode_destroy(&s.node);
}
