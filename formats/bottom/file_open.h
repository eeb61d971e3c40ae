/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens the host file of an image: checks what it is, locks it, and finds out what O_DIRECT
 * requires.
 */
#ifndef UBD_FILE_OPEN_H
#define UBD_FILE_OPEN_H

#include "image_ops.h"

struct file_open {
	/* in */
	const char *filename;
	unsigned flags;			/* IMAGE_* */
	const struct named_file *named; /* NULL: no image names it */
	enum file_locking {
		FILE_LOCKING_AUTO, /* where the file system supports locks */
		FILE_LOCKING_ON,
		FILE_LOCKING_OFF,
	} locking;
	bool is_host_device; /* it must be a block device */
	/* in and out: an open file to use a duplicate of, or -1; and what was opened */
	int fd; /* the caller closes it */
	bool is_bdev;
	bool has_no_name; /* it had been deleted */
	bool locked;	  /* against other writers, if it was opened for writing */
	bool unlocked;	  /* locks are not supported here, and the user has not allowed that */
	struct file_id id;
	bool has_owner; /* a block device's says nothing of whose the data is */
	uid_t owner;
	int64_t changed_ns;
	bool ends_with_data; /* false if that is not known, or of no interest */
	uint64_t size;
	struct image_limits limits;
	/* for file_open.c */
	int open_flags;
	unsigned lock_perms; /* FILE_LOCK_* */
	unsigned lock_unshared;
	bool made;
	struct image_begun *begun;
	const struct bottom_create_opts *create_opts;
	GError *err;
};

/* Opens and locks an image file. */
int file_co_open_fd(struct file_open *file, GError **err);

/* Takes the lock that an open with IMAGE_BEAR_WRITERS left out, on @file->fd. */
int file_co_keep_writers_out_fd(struct file_open *file, GError **err);

/*
 * Creates an image file, or truncates an existing one, provided that nobody else has it open as an
 * image, and adds it to @begun.
 */
int file_co_create(const char *filename, const struct bottom_create_opts *opts,
		   struct image_begun *begun, GError **err);

/* Of bottom_ops. */
struct file_id file_identify(const char *filename);
char *file_stable_name(const char *filename);
bool file_is_same(const char *a, const char *b);
void file_abandon(const struct image_begun_file *begun, bool may_wipe);

#endif
