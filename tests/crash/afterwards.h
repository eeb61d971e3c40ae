/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image must fulfil after a power cut. */
#ifndef UBD_TESTS_AFTERWARDS_H
#define UBD_TESTS_AFTERWARDS_H

#include "history.h"
#include "memnode.h"
#include "prepare.h"
#include "structural.h"

struct aftermath {
	/* Set before use. */
	const struct image_spec *spec;
	const char *filename; /* names of backing files are relative to it */
	const char *folder;   /* for the file that qemu-img looks at */
	struct memdisk *disk;
	struct memdisk *data_disk; /* of the external data file; NULL if there is none */
	struct history *history;
	uint64_t cut;
	bool leaks_allowed;
	struct structural *structural; /* whose operations check what they made; may be NULL */
	/* What was found: whether the image needs a repair, its size, and each sector. */
	bool dirty;
	uint64_t size;
	uint32_t *found;
	unsigned cuts_again;	   /* how many aftermath_co_continue() made */
	struct memnode *once_more; /* its own: for structural_view.co_open */
};

/* These return NULL if all is well; otherwise what is wrong, which the caller frees. */

/*
 * The image opens, and every sector holds what its history allows. It has no corruption, unless it
 * says itself that it needs a repair.
 */
char *aftermath_co_check(struct aftermath *after);

/*
 * Opened for writing, the image repairs itself: afterwards it needs no repair, has no corruption,
 * and holds the same as before. Changes the disk; call it after aftermath_co_check(), if the image
 * is dirty.
 */
char *aftermath_co_repair(struct aftermath *after);

/* qemu-img finds no corruption, either. */
char *aftermath_check_by_qemu_img(struct aftermath *after);

/*
 * The image can still be used, in a layer on the disk, which stays as it is: it is opened for
 * writing (and repaired), more is written, and then it has no corruption and holds exactly that.
 * The same holds after another cut in the middle of it, perhaps in the repair. Call it after
 * aftermath_co_check(); see again.c.
 */
char *aftermath_co_continue(struct aftermath *after, uint64_t seed);

void aftermath_destroy(struct aftermath *after);

#endif
