// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * System calls on files that may wait for storage; see file_calls.h.
 *
 * A call takes a slot of its file first, then one of its file system: a file whose calls all hang
 * then holds few of the slots that other files of the file system need, too.
 */
#include "file_calls.h"

#include <glib.h>

#include "aio.h"

/* Enough to keep a device busy. */
#define FILE_CALLS 16
/* The worker pool has 1024 threads: several file systems may hang. */
#define FS_CALLS   128

struct file_system {
	dev_t dev;
	unsigned users;
	struct call_slots slots;
	struct file_system *next;
};

static struct thread_lock guard = THREAD_LOCK_INIT;
static struct file_system *all GUARDED_BY(guard);

/* ---- slots ---- */

/* No lock: nobody else knows them yet. */
static void slots_init(struct call_slots *slots) NO_THREAD_SAFETY_ANALYSIS
{
	slots->taken = 0;
	thread_lock_init(&slots->lock);
	co_queue_init(&slots->queue);
}

static void slots_destroy(struct call_slots *slots)
{
	co_queue_destroy(&slots->queue);
	thread_lock_destroy(&slots->lock);
}

static void co_take(struct call_slots *slots, unsigned most)
{
	thread_lock(&slots->lock);
	if (slots->taken < most)
		slots->taken++;
	else
		co_queue_wait_thread(&slots->queue, &slots->lock);
	thread_unlock(&slots->lock);
}

/* To the first that waits: otherwise one that makes call after call could always be before it. */
static void give_back(struct call_slots *slots)
{
	thread_lock(&slots->lock);
	if (!co_queue_wake_one(&slots->queue))
		slots->taken--;
	thread_unlock(&slots->lock);
}

/* ---- file systems ---- */

static struct file_system **find(dev_t dev) REQUIRES(guard)
{
	struct file_system **place = &all;

	while (*place && (*place)->dev != dev)
		place = &(*place)->next;
	return place;
}

static struct file_system *get(dev_t dev)
{
	struct file_system **place, *fs;

	thread_lock(&guard);
	place = find(dev);
	if (!*place) {
		*place = g_new0(struct file_system, 1);
		(*place)->dev = dev;
		slots_init(&(*place)->slots);
	}
	fs = *place;
	fs->users++;
	thread_unlock(&guard);
	return fs;
}

static void put(struct file_system *fs)
{
	struct file_system **place;

	thread_lock(&guard);
	if (--fs->users == 0) {
		place = find(fs->dev);
		*place = fs->next;
		slots_destroy(&fs->slots);
		g_free(fs);
	}
	thread_unlock(&guard);
}

/* ---- calls ---- */

void file_calls_init(struct file_calls *calls, dev_t dev)
{
	slots_init(&calls->slots);
	calls->fs = get(dev);
}

void file_calls_destroy(struct file_calls *calls)
{
	put(calls->fs);
	slots_destroy(&calls->slots);
}

int file_calls_co_run(struct file_calls *calls, int (*fn)(void *arg), void *arg)
{
	int ret;

	co_take(&calls->slots, FILE_CALLS);
	co_take(&calls->fs->slots, FS_CALLS);
	ret = co_block_on_worker(fn, arg);
	give_back(&calls->fs->slots);
	give_back(&calls->slots);
	return ret;
}
