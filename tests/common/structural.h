/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Structural operations: what is done to an image as a whole, between the guest's
 * requests or beside them. The crash and the stress test perform them by an extra
 * job, and so test each of them together with all others.
 *
 * To add one:
 *
 *   1. Write it in a file of its own, tests/common/structural-SUBJECT.c:
 *
 *	static int co_grow(struct structural *s)
 *	{
 *		uint64_t size = ...;	(see structural_draw_size())
 *		int ret;
 *
 *		structural_begin(s, NULL, size);
 *		ret = image_co_resize(s->img, size, ...);
 *		structural_end(s, ret);
 *		return ret;
 *	}
 *	const struct structural_op structural_grow = {
 *		.name = "grow", .exclusive = true, .co_perform = co_grow,
 *	};
 *
 *   2. Declare it at the end of this header, put it into the table in structural.c
 *	and the file into tests/common/meson.build.
 *
 *   3. Run it alone: `crash --operation grow --seeds 50`, and with --faults 30;
 *	`stress --operation grow`; then all together.
 *
 * An operation draws from s->rng, so that a seed repeats it. What it does to its own
 * subject it may remember with structural_remember(), and look at after each cut in
 * co_verify.
 */
#ifndef UBD_TESTS_STRUCTURAL_H
#define UBD_TESTS_STRUCTURAL_H

#include <glib.h>

#include "colock.h"
#include "image.h"
#include "prepare.h"
#include "rng.h"

struct structural;

/* An image as it was found after a power cut, or at the end. */
struct structural_view {
	struct image *img; /* read-only; operations may not close it */
	/* What ended before it must be there if it had to be durable. In ticks. */
	uint64_t cut;
	/* Opens it once more, with the caller's options: for example one of its snapshots. */
	int (*co_open)(const struct structural_view *view, const struct image_open_opts *opts,
		       struct image **ret_img, GError **err);
	void *arg;
};

struct structural_op {
	const char *name;
	/*
	 * No request of the guest is in flight meanwhile: for everything that changes what the
	 * guest sees, or s->img. Other operations run beside the guest's requests.
	 */
	bool exclusive;
	/* Which images support it; NULL: all of qcow2. */
	bool (*fits)(const struct image_spec *spec);
	/* 0 or -errno, which fails the test where no faults are injected. */
	int (*co_perform)(struct structural *s);
	/*
	 * Whether what it made is right; NULL: there is nothing to look at. The result says what is
	 * wrong; the caller frees it.
	 */
	char *(*co_verify)(struct structural *s, const struct structural_view *view);
};

/* A size that the disk was to have; see structural_begin(). */
struct structural_size {
	uint64_t since; /* in ticks */
	uint64_t sectors;
};

struct structural {
	/* Set before it is run. */
	const struct image_spec *spec;
	const char *only;   /* the name of an operation, NULL: all */
	unsigned count;	    /* how many operations; 0: none */
	unsigned max_pause; /* between two, in turns of the loop */
	bool faults;	    /* they may fail */
	struct rng rng;
	/* The image: readers use it, an exclusive operation may replace it. */
	struct co_rwlock lock;
	struct image *img; /* lock */
	/* The test's: closes s->img and opens it again. Returns 0, or -errno with s->img NULL. */
	int (*co_reopen)(struct structural *s);
	/* The test's: see structural_begin(), structural_end() and structural_now(). */
	void (*begin)(struct structural *s, const uint32_t *versions, uint64_t size);
	void (*end)(struct structural *s, bool failed);
	uint64_t (*now)(struct structural *s);
	void *arg; /* the test's */
	/* Its own. */
	GHashTable *memory;
	GArray *sizes; /* struct structural_size: those that the disk was set to, in turn */
	unsigned next_number;
	const struct structural_op *running;
	_Atomic unsigned performed;
	unsigned failed;
	char *failure; /* the first one */
};

void structural_init(struct structural *s, const struct image_spec *spec, uint64_t seed);
void structural_destroy(struct structural *s);

bool structural_is_known(const char *name);

/* Whether any operation, or the one named @only, can be done to such an image. */
bool structural_fits(const struct image_spec *spec, const char *only);

/* The operations by number; NULL after the last one. */
const struct structural_op *structural_op_at(unsigned index);
bool structural_op_fits(const struct structural_op *op, const struct image_spec *spec);
/* Does one now and returns its result. For tests that decide themselves what is done when. */
int structural_co_perform(struct structural *s, const struct structural_op *op);

/*
 * The extra job: s->count operations with pauses, until *stop. NULL if all went well; otherwise
 * what went wrong, which the caller frees.
 */
char *structural_co_run(struct structural *s, const _Atomic bool *stop);

/*
 * Calls co_verify of all operations. NULL if all is well; otherwise what is wrong, which the caller
 * frees.
 */
char *structural_co_verify(struct structural *s, const struct structural_view *view);

/* Prints what is being done. For a test that hangs. */
void structural_dump(const struct structural *s);

/* ---- for operations ---- */

/* No image grows beyond this. */
static inline uint64_t structural_max_size(const struct image_spec *spec)
{
	return spec->size + spec->size / 2;
}

/* From half of spec->size up to that, in whole sectors. */
uint64_t structural_draw_size(struct structural *s);

/*
 * For exclusive operations, around what changes the contents: the disk will have this size, and
 * sector i will hold @versions[i] (see stamp.h). NULL: sectors stay as they are; those that are cut
 * off or added become zero. Until structural_end() either state may be found.
 */
void structural_begin(struct structural *s, const uint32_t *versions, uint64_t size);
/* @ret: the operation's result. If it failed, it may have been done in part. */
void structural_end(struct structural *s, int ret);

/* Whether an image has version 2 of qcow2, which amend may change. */
bool structural_is_version_2(const struct image_info *info);

/* The moment, in the ticks that structural_view.cut is in. */
uint64_t structural_now(struct structural *s);

/*
 * The fewest sectors that the disk may have had before a cut, given that s->sizes had @nr_sizes
 * elements and the disk @sectors: those beyond may have been cut off.
 */
uint64_t structural_fewest_sectors(const struct structural *s, unsigned nr_sizes, uint64_t sectors,
				   uint64_t cut);

/*
 * The version of each sector of an image; the caller frees it. NULL if the image cannot be read or
 * has a sector that was never written; the caller frees *ret_failure, too.
 */
uint32_t *structural_co_versions(struct image *img, char **ret_failure);

/* A unique name. The caller frees it. */
char *structural_new_name(struct structural *s, const char *prefix);

/*
 * Remembers what an operation needs later, by name; the table owns the memory and frees it with
 * g_free(). Names come from structural_new_name(), or begin with the operation's name.
 */
void structural_remember(struct structural *s, const char *name, void *what);
void *structural_recall(const struct structural *s, const char *name);

/* ---- the operations ---- */

extern const struct structural_op structural_reopen; /* structural-basic.c */
extern const struct structural_op structural_map;
extern const struct structural_op structural_truncate;
extern const struct structural_op structural_snapshot; /* structural-snapshot.c */
extern const struct structural_op structural_snapshot_beside;
extern const struct structural_op structural_bitmaps; /* structural-bitmaps.c */
extern const struct structural_op structural_resize;  /* structural-resize.c */
extern const struct structural_op structural_grow_beside;
extern const struct structural_op structural_amend;
extern const struct structural_op structural_vm_state; /* structural-vm-state.c */

#endif
