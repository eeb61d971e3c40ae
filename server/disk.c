// SPDX-License-Identifier: GPL-2.0-or-later
/* The image at the top of the node graph; see disk.h. */
#include "disk.h"

#include <stdatomic.h>

/* Requests must not wait in a section, nor while they have memory that others want. */
static void set_top(struct disk *disk, struct image *top) REQUIRES(disk->lock)
{
	disk->top = top;
	atomic_store(&disk->throttle, top ? image_take_throttle(top) : NULL);
	/* The last: from then on, requests begin sections. */
	atomic_store_explicit(&disk->has_image, top != NULL, memory_order_release);
}

/* No lock: nobody else knows it yet. */
struct disk *disk_new(struct image *top) NO_THREAD_SAFETY_ANALYSIS
{
	struct disk *disk = g_new0(struct disk, 1);

	co_rwlock_init(&disk->lock);
	set_top(disk, top);
	disk->patience_ns = IMAGE_PATIENT;
	return disk;
}

/* No lock: requests look at has_image first. */
void disk_set_image(struct disk *disk, struct image *top) NO_THREAD_SAFETY_ANALYSIS
{
	image_set_patience(top, disk->patience_ns);
	set_top(disk, top);
}

bool disk_has_image(const struct disk *disk)
{
	return atomic_load_explicit(&disk->has_image, memory_order_acquire);
}

void disk_free(struct disk *disk)
{
	if (!disk)
		return;
	co_rwlock_destroy(&disk->lock);
	g_free(disk);
}

struct image *disk_co_begin(struct disk *disk)
{
	co_rwlock_rdlock(&disk->lock);
	return disk->top;
}

void disk_co_end(struct disk *disk)
{
	co_rwlock_rdunlock(&disk->lock);
}

/* In sections, so that users and top belong together. */
void disk_co_begin_use(struct disk *disk)
{
	struct image *top = disk_co_begin(disk);

	if (atomic_fetch_add(&disk->users, 1) == 0)
		image_begin_use(top);
	disk_co_end(disk);
}

void disk_co_end_use(struct disk *disk)
{
	struct image *top = disk_co_begin(disk);

	if (atomic_fetch_sub(&disk->users, 1) == 1)
		image_end_use(top);
	disk_co_end(disk);
}

/* No lock: no request looks any more. */
struct image *disk_take_image(struct disk *disk) NO_THREAD_SAFETY_ANALYSIS
{
	struct image *top = disk->top;

	if (atomic_exchange(&disk->users, 0))
		image_end_use(top);
	set_top(disk, NULL);
	return top;
}

/* No lock: the main loop is the only one that ever writes. */
void disk_set_patience(struct disk *disk, uint64_t ns) NO_THREAD_SAFETY_ANALYSIS
{
	disk->patience_ns = ns;
	image_set_patience(disk->top, ns);
}

struct image *disk_co_replace(struct disk *disk, struct image *top)
{
	struct image *old;

	image_set_patience(top, disk->patience_ns);
	co_rwlock_wrlock(&disk->lock);
	old = disk->top;
	if (atomic_load(&disk->users)) {
		image_begin_use(top);
		image_end_use(old);
	}
	set_top(disk, top);
	/* It may be below the new one. */
	image_give_back_throttle(old);
	co_rwlock_wrunlock(&disk->lock);
	return old;
}

struct throttle_group *disk_throttle(const struct disk *disk)
{
	return atomic_load_explicit(&disk->throttle, memory_order_relaxed);
}

/* No lock: the thread that reads is the only one that ever writes. */
struct image *disk_image(const struct disk *disk) NO_THREAD_SAFETY_ANALYSIS
{
	return disk->top;
}
