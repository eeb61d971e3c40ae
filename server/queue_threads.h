/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads that serve all devices of a process with several disks: one for the first queue of
 * each device, one for the second, and so on. They are created when first needed, and stay.
 * Main thread only.
 */
#ifndef UBD_QUEUE_THREADS_H
#define UBD_QUEUE_THREADS_H

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "data_pool.h"

struct queue_thread;
struct queue_threads;

/* The largest request whose data they can copy. */
#define QUEUE_THREADS_MAX_COPY DATA_POOL_BYTES

/* @depth: of queues with zero copy, at most; @ring_uses as in struct transport_queues. */
struct queue_threads *queue_threads_new(unsigned depth, unsigned ring_uses);
/* No queue may use them any more, except those freed by queue_threads_outlive(). NULL is fine. */
void queue_threads_free(struct queue_threads *threads);

/*
 * Allocates and frees a device's place on all threads (struct queue_config). -ENOSPC: no place is
 * left.
 */
int queue_threads_take_place(struct queue_threads *threads);
void queue_threads_put_place(struct queue_threads *threads, int place);

/* Calls fn(arg) once queue_threads_free() has ended the threads, and before it returns. */
void queue_threads_outlive(struct queue_threads *threads, void (*fn)(void *arg), void *arg);

/*
 * Whether the tables of the rings have the buffers that zero copy needs, for a device at this place
 * with queues of this depth. They begin at queue_threads_first_buffer().
 */
bool queue_threads_have_buffers(const struct queue_threads *threads, int place, unsigned depth);
unsigned queue_threads_first_buffer(const struct queue_threads *threads, int place);

/*
 * Creates everything that the threads for devices with @queues queues, at most DEVICE_MAX_QUEUES,
 * need and cannot create in the sandbox. After queue_threads_complete(), devices with more queues
 * are refused. 0 or < 0 with @err set.
 */
int queue_threads_prepare(struct queue_threads *threads, unsigned queues, GError **err);
void queue_threads_complete(struct queue_threads *threads);

/*
 * The thread for queues with the number @q_id, which must have been prepared. @cpus is only for a
 * new thread; NULL: any. NULL with @err set.
 */
struct queue_thread *queue_threads_get(struct queue_threads *threads, unsigned q_id,
				       const cpu_set_t *cpus, GError **err);

/*
 * Drops the threads' share of the process's privileges. Waits for the threads, which wait for
 * nothing. 0 or -errno.
 */
int queue_threads_drop_privileges(struct queue_threads *threads);

/* Whether all loops have run since the last call. */
bool queue_threads_are_alive(const struct queue_threads *threads);

#endif
