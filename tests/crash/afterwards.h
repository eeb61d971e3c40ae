/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is demanded of an image after a power cut. */
#ifndef UBD_TESTS_AFTERWARDS_H
#define UBD_TESTS_AFTERWARDS_H

#include "history.h"
#include "memdisk.h"
#include "prepare.h"

struct aftermath {
	/* Set before use. */
	const struct image_spec *spec;
	const char *filename; /* what backing files are relative to */
	const char *folder;   /* for the file that qemu-img looks at */
	struct memdisk *disk;
	struct history *history;
	uint64_t cut;
	bool leaks_allowed;
	/* What was found in each sector. */
	uint32_t *found;
};

/* These return NULL if all is well; else what is wrong, which the caller frees. */

/* It opens, has no corruption, and every sector holds what its history allows. */
char *aftermath_co_check(struct aftermath *after);

/* qemu-img finds no corruption either. */
char *aftermath_check_by_qemu_img(struct aftermath *after);

/*
 * It can go on being used: more is written, and then it has no corruption and holds
 * just that. Changes the disk; after aftermath_co_check().
 */
char *aftermath_co_continue(struct aftermath *after, uint64_t seed);

void aftermath_destroy(struct aftermath *after);

#endif
