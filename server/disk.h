/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disk that the queues serve: the image at the top of the node graph. It may be replaced while
 * there are requests, so each use of it is a read section. A section only writes to a cache line of
 * its own loop, and is therefore cheap enough for each request.
 */
#ifndef UBD_DISK_H
#define UBD_DISK_H

#include "annotations.h"
#include "colock.h"
#include "image.h"

struct throttle_group;

struct disk {
	/* Requests read, replacing the top writes. Taken before every lock of the image. */
	struct co_rwlock lock;
	struct image *top GUARDED_BY(lock);
	_Atomic bool has_image; /* there is a top */
	/* Queues that are not idle: while there are any, the disk is a user of the top. */
	_Atomic unsigned users;
	uint64_t patience_ns;			   /* of each top; main loop */
	_Atomic(struct throttle_group *) throttle; /* of the top */
};

/*
 * The caller keeps the images, and frees the disk with disk_free(). Any thread. @top NULL: there is
 * none yet.
 */
struct disk *disk_new(struct image *top);
/* Sets the top for the first time, before there are sections. Main loop. */
void disk_set_image(struct disk *disk, struct image *top);
/* Whether that has been done, so that there may be sections. Any thread. */
bool disk_has_image(const struct disk *disk);
/* Outside all sections. NULL is fine. */
void disk_free(struct disk *disk);

/*
 * Begins a section, and returns the top, which stays the top until its end. A section must not wait
 * for anything but the image, because replacing the top waits for its end; it must not begin
 * another one.
 */
struct image *disk_co_begin(struct disk *disk) ACQUIRE_SHARED(disk->lock);
void disk_co_end(struct disk *disk) RELEASE_SHARED(disk->lock);

/*
 * A queue has work to do, or has been idle for a while. Memory of the image, and of the nodes that
 * it shares with others, is freed when all queues are idle. Each call is a section.
 */
void disk_co_begin_use(struct disk *disk) EXCLUDES(disk->lock);
void disk_co_end_use(struct disk *disk) EXCLUDES(disk->lock);
/*
 * Takes the top out, which the caller closes; NULL: there is none. All queues have ended, idle or
 * not. Main loop.
 */
struct image *disk_take_image(struct disk *disk);

/* Sets the patience of the top, if any, and of all later ones, image_set_patience(). Main loop. */
void disk_set_patience(struct disk *disk, uint64_t ns);

/*
 * The limits of the top (image_take_throttle()), for which a request waits before its section;
 * NULL: there are none. Any thread.
 */
struct throttle_group *disk_throttle(const struct disk *disk);

/*
 * Makes @top the top, and returns the previous one, which no request uses any more. Waits for the
 * requests in flight; new requests wait meanwhile. Main loop.
 */
struct image *disk_co_replace(struct disk *disk, struct image *top);

/* The top, or NULL, until the caller yields. Main loop, which is the only one that replaces it. */
struct image *disk_image(const struct disk *disk);

#endif
