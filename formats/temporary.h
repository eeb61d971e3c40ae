/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Temporary overlays: a qcow2 image in a file without a name, whose backing file is an image that
 * is already open. Writes go to the overlay. Its file is gone when the last program that has it
 * open has ended, however that happens, unless it was given a name before.
 *
 * Nothing of it needs to survive a crash, so flushes do not wait for the storage until it is kept.
 */
#ifndef UBD_TEMPORARY_H
#define UBD_TEMPORARY_H

#include "image.h"

/* Where such files are by default: they may be too large for /tmp. */
#define IMAGE_TEMPORARY_DIR "/var/tmp"

struct image_temporary;

/* Creates the file in @folder. NULL with @err set. Blocks. */
struct image_temporary *image_temporary_new(const char *folder, GError **err);

/*
 * Creates the file in the folder of @filename, where image_temporary_co_keep() can give it that
 * name; refused if there is such a file. NULL with @err set. Blocks.
 */
struct image_temporary *image_temporary_new_kept(const char *filename, GError **err);

/*
 * Whether this process, which may have dropped privileges in between, can still give the file a
 * name. 0, or < 0 with @err set. Blocks.
 */
int image_temporary_check_keep(const struct image_temporary *temporary, GError **err);

/*
 * Opens the overlay in the file, on the image @base. The first time, writes an empty overlay to the
 * file; it can be opened again once it was closed. The overlay owns @base from now on, even on
 * failure. Of @opts, flags (IMAGE_RDWR, IMAGE_DIRECT, IMAGE_UNMAP, IMAGE_COPY_ON_READ) and
 * cache_bytes count. A file that will be kept records @base_name as the name of its backing file.
 */
int image_temporary_co_open(struct image_temporary *temporary, struct image *base,
			    const char *base_name, const struct image_open_opts *opts,
			    struct image **ret_img, GError **err);

/*
 * Gives the file its name, durably. The overlay must have been closed without an error after
 * image_end_no_flush(). If there is a file of that name by now, it gets another one; *ret_name,
 * which the caller frees, is the name that it got. 0, or < 0 with @err set.
 */
int image_temporary_co_keep(struct image_temporary *temporary, char **ret_name, GError **err);

/*
 * After a failure: gives the file the name with ".incomplete" behind it, for people to look at.
 * What was written last may be missing, or not be durable.
 */
int image_temporary_co_keep_incomplete(struct image_temporary *temporary, char **ret_name,
				       GError **err);

/* Closes the file. The overlay may still be open. NULL is fine. */
void image_temporary_free(struct image_temporary *temporary);

#endif
