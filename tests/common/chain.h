/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chains of images, and what is done to one as a whole: commit and rebase. Whatever happens
 * meanwhile, the top image must read the same.
 *
 * A chain consists of the files "base" and "top" in a folder and, perhaps, "mid" between them;
 * "new" is the backing file for a rebase.
 */
#ifndef UBD_TESTS_CHAIN_H
#define UBD_TESTS_CHAIN_H

#include "image.h"
#include "rng.h"

enum chain_job {
	CHAIN_COMMIT,	   /* to the backing file; then the top is empty */
	CHAIN_COMMIT_DOWN, /* from all images to the base; the top stays as it is */
	CHAIN_REBASE,	   /* to "new" */
	CHAIN_REBASE_COMPRESSED,
	CHAIN_FLATTEN, /* no backing file any more */
	NR_CHAIN_JOBS,
};

extern const char *const chain_job_names[NR_CHAIN_JOBS];

struct chain_layer {
	const char *name;
	const char *format;
	uint64_t size; /* a multiple of 512 */
	unsigned cluster_size;
	unsigned refcount_bits;
	bool version_2;
	bool extended_l2;
	bool data_file; /* NAME.data */
	bool snapshot;	/* of half of its contents */
};

struct chain_spec {
	enum chain_job job;
	bool has_mid;
	struct chain_layer base, mid, top, new;
	uint64_t seed;
};

/* Draws everything but the job. */
struct chain_spec chain_spec_draw(enum chain_job job, uint64_t seed);
/* On one line. The caller frees it. */
char *chain_spec_describe(const struct chain_spec *spec);

/* Whether the job makes top's backing file another one. */
bool chain_job_is_rebase(enum chain_job job);

/* Creates the files. Ends the process if that fails. */
void chain_co_make(const struct chain_spec *spec, const char *folder);

/*
 * Does the job. @layer: the image above the one that is written to, which is open for writing; for
 * a rebase @new, which may be NULL, is the new backing file.
 */
int chain_co_perform(const struct chain_spec *spec, struct image *top, struct image *layer,
		     struct image *new, GError **err);

/* The image above the one that a commit writes to. */
struct image *chain_layer_above(const struct chain_spec *spec, struct image *top);

/* All of the disk, or NULL with *ret_failure; the caller frees either. */
uint8_t *chain_co_read(struct image *img, char **ret_failure);

/* NULL, or what is wrong with the metadata, or with the contents; the caller frees it. */
char *chain_co_check(struct image *img, bool leaks_allowed);
char *chain_co_compare(struct image *img, const uint8_t *expected);
/* What must hold after the job was done, beside the contents. */
char *chain_co_check_done(const struct chain_spec *spec, struct image *top);

#endif
