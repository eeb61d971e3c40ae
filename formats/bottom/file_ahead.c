// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Growing ahead. A direct write that extends a file, or that fills a hole in it, cannot be done
 * without waiting: io_uring passes it to a thread, and the file system takes the inode's lock for
 * it alone. So space is allocated in the background before it is needed, in steps. Rules:
 *
 *  1. A step doubles from 1 MiB to 64 MiB, but takes at most 1/8 of the file's length and 1/8 of
 *     what the file system has free. A file of less than 2 MiB does not grow ahead.
 *  2. img->size is where the data ends. Behind it the file reads as zeroes, however long it is: the
 *     space consists of unwritten extents, and nothing is written there without raising img->size.
 *  3. A step runs beside writes, perhaps to the same range. So it only adds space, with mode 0 of
 *     fallocate(). FALLOC_FL_WRITE_ZEROES would save the conversion of extents later, but zeroes
 *     what was written meanwhile; and what it made looks like data after a crash.
 *  4. A step that fails, for whatever reason, is the last one. Writes then extend the file
 *     themselves, as they would anyway.
 *  5. Close cuts the file off at img->size. After a crash the next writer does so, see
 *     formats/qcow2/ahead.c. Only the holder of the lock that keeps other writers out does either:
 *     nobody else's data can be there.
 *
 * FALLOC_FL_KEEP_SIZE is not enough: then each write must still raise the file's size, which takes
 * the lock as before.
 */
#include "file_ahead.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "align.h"
#include "file_calls.h"
#include "image_ops.h"

#define FIRST_STEP   (1ull << 20)
/* Steps end at a multiple of this, so it is the shortest one. */
#define STEP_UNIT    (256ull << 10)
#define LAST_STEP    IMAGE_MAX_AHEAD
/* The part of the file, and of free space, that a step takes at most. */
#define LARGEST_PART 8

void file_ahead_init(struct file_ahead *ahead, const struct image *img, int fd,
		     struct file_calls *calls)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else knows it yet */
{
	ahead->img = img;
	ahead->fd = fd;
	ahead->calls = calls;
	ahead->trigger = UINT64_MAX;
	ahead->is_off = true;
	thread_lock_init(&ahead->lock);
	co_queue_init(&ahead->ended);
}

void file_ahead_destroy(struct file_ahead *ahead)
{
	co_queue_destroy(&ahead->ended);
	thread_lock_destroy(&ahead->lock);
}

/* Where a file of @size is long enough for a step. */
static uint64_t first_trigger(uint64_t size)
{
	return MAX(size, STEP_UNIT * LARGEST_PART);
}

bool file_ahead_turn_on(struct file_ahead *ahead)
{
	uint64_t size = image_size(ahead->img);
	struct rlimit limit;

	/* A file that gets longer than that limit ends the process: leave that to real writes. */
	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur != RLIM_INFINITY)
		return false;
	thread_lock(&ahead->lock);
	ahead->is_off = false;
	ahead->step = FIRST_STEP;
	ahead->end = size;
	atomic_store(&ahead->trigger, first_trigger(size));
	thread_unlock(&ahead->lock);
	return true;
}

void file_ahead_truncated(struct file_ahead *ahead, uint64_t size)
{
	thread_lock(&ahead->lock);
	ahead->end = size;
	if (!ahead->is_off)
		atomic_store(&ahead->trigger, first_trigger(size));
	thread_unlock(&ahead->lock);
}

/* ---- a step ---- */

struct space_job {
	int fd;
	uint64_t ret_free;
};

static int space_on_worker(void *arg)
{
	struct space_job *job = arg;
	struct statfs fs;

	if (fstatfs(job->fd, &fs) < 0)
		return -errno;
	job->ret_free = fs.f_bavail * (uint64_t)fs.f_bsize;
	return 0;
}

/* Rule 1; -ENOSPC if so little is free that other users may need it. */
static int co_allocate(struct file_ahead *ahead)
{
	struct space_job space = { .fd = ahead->fd };
	uint64_t bytes = ahead->to - ahead->from;
	int ret = file_calls_co_run(ahead->calls, space_on_worker, &space);

	if (!ret && bytes > space.ret_free / LARGEST_PART)
		ret = -ENOSPC;
	if (ret)
		return ret;
	/* Even if it fails: a part may have been allocated. */
	atomic_store(&ahead->has_grown, true);
	do {
		ret = co_fallocate(ahead->fd, 0, ahead->from, bytes);
	} while (ret == -EINTR || ret == -EAGAIN);
	return ret;
}

static void step_co(void *arg)
{
	struct file_ahead *ahead = arg;
	int ret = co_allocate(ahead);

	thread_lock(&ahead->lock);
	ahead->running = false;
	ahead->is_off |= ret != 0;
	if (!ahead->is_off) {
		ahead->end = ahead->to;
		ahead->step = MIN(ahead->step * 2, LAST_STEP);
		/* There is still some space when the next step starts. */
		atomic_store(&ahead->trigger, ahead->to - (ahead->to - ahead->from) / 2);
	}
	co_queue_wake_all(&ahead->ended);
	/* The node may be gone after this. */
	thread_unlock(&ahead->lock);
	aio_loop_release(aio_loop_current());
}

/* False if the file is too short for a step, or has space already. */
static bool plan_step(struct file_ahead *ahead) REQUIRES(ahead->lock)
{
	uint64_t size = image_size(ahead->img);
	uint64_t bytes = MIN(ahead->step, size / LARGEST_PART);

	ahead->from = MAX(size, ahead->end);
	ahead->to = align_down(size + bytes, STEP_UNIT);
	return ahead->to > ahead->from;
}

void file_ahead_start(struct file_ahead *ahead)
{
	bool starts = false;

	thread_lock(&ahead->lock);
	/*
	 * Again, with the lock: it may have been switched off or paused meanwhile. Without a stack
	 * for it, a later write starts the step.
	 */
	if (!ahead->running && atomic_load(&ahead->trigger) != UINT64_MAX && co_has_stack()) {
		starts = ahead->running = plan_step(ahead);
		/* While it runs, no other one starts. */
		atomic_store(&ahead->trigger,
			     starts ? UINT64_MAX : image_size(ahead->img) + STEP_UNIT / 2);
	}
	thread_unlock(&ahead->lock);
	if (!starts)
		return;
	aio_loop_hold(aio_loop_current());
	co_start(step_co, ahead);
}

/* ---- truncate and close ---- */

static void co_stop(struct file_ahead *ahead) REQUIRES(ahead->lock)
{
	/* The step that runs sets it at its end. */
	while (ahead->running)
		co_queue_wait_thread(&ahead->ended, &ahead->lock);
	atomic_store(&ahead->trigger, UINT64_MAX);
}

void file_ahead_co_pause(struct file_ahead *ahead)
{
	thread_lock(&ahead->lock);
	co_stop(ahead);
	thread_unlock(&ahead->lock);
}

void file_ahead_co_end(struct file_ahead *ahead)
{
	thread_lock(&ahead->lock);
	ahead->is_off = true;
	co_stop(ahead);
	thread_unlock(&ahead->lock);
}

int file_ahead_cut(const struct file_ahead *ahead)
{
	uint64_t size = image_size(ahead->img);
	struct stat st;

	if (!atomic_load(&ahead->has_grown))
		return 0;
	if (fstat(ahead->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size <= size)
		return 0;
	return TEMP_FAILURE_RETRY(ftruncate(ahead->fd, size)) < 0 ? -errno : 0;
}
