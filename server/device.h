/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a block device, from the driver's side of the server:
 *
 *   device_add()      the driver knows it, nobody else does; or knew it before, as
 *                     the device of a server that is gone
 *   device_start()    /dev/ubdbN is there, the queues serve it
 *   device_wait()     until it is to end, and says why
 *   device_stop()     no more requests; the queue threads have ended
 *   device_free()     gone, or left to the next server
 *
 * The image is closed between the last two, so that the number of the device is
 * free again, or the next server goes on, only when the image is safe. Main thread only.
 */
#ifndef UBD_DEVICE_H
#define UBD_DEVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "control.h"
#include "failures.h"
#include "hold.h"
#include "image.h"
#include "queue.h"

struct device;

/* How the data of requests get to the server and back; see data.h. */
enum device_data {
	DEVICE_DATA_ANY, /* zero copy where the driver offers it, else copy */
	DEVICE_DATA_COPY,
	DEVICE_DATA_USER_COPY,
	DEVICE_DATA_ZERO_COPY,
};

struct device_config {
	struct image *image;
	bool discard;	     /* take discards */
	uint32_t block_size; /* logical, bytes; 0: the image's */
	struct hold_policy hold;
	guint64 watchdog_us; /* of supervisor_watchdog_us() */
	/*
	 * A device that was taken over; device_add() owns it from then on, also when it fails.
	 * It is not deleted before it is live again. NULL: a new device.
	 */
	struct control *recovered;
	int char_fd; /* of @recovered: the driver's file, which device_add() owns from then on */
	/* For a new one only. */
	uint32_t id;	 /* or UBD_DEV_ID_ANY */
	uint16_t queues; /* 0: one per CPU, up to a few */
	uint16_t depth;
	uint64_t recovery; /* UBD_F_USER_RECOVERY*: whether it outlives its server, and how */
	uint32_t request_timeout; /* as in struct ubd_params */
	bool no_partition_scan;
	uint32_t recovery_timeout; /* seconds, or 0: for how long, if it does */
	struct ubd_identity identity;
	enum device_data data;
};

/* The most queues that may be asked for; each has an aio loop, the main thread too. */
#define DEVICE_MAX_QUEUES 128

/* NULL with @err set, and nothing is left behind. Free with device_free(). */
struct device *device_add(const struct device_config *config, GError **err);

/*
 * A signal at @signal_fd ends the wait for a new device's start, which is a failure then. After a
 * failure device_stop() is due as after a success.
 */
int device_start(struct device *device, int signal_fd, GError **err);

/* Its control fd, and whether it outlives its server. */
int device_control_fd(const struct device *device);
bool device_recovers(const struct device *device);

/* "/dev/ubdbN", owned by the device. */
const char *device_path(const struct device *device);

/* What device_wait() has found. */
enum device_end {
	DEVICE_COMMAND,	    /* no end: @command_fd has something to read */
	DEVICE_END_SIGNAL,  /* @signal_fd has something to read */
	DEVICE_END_STOPPED, /* somebody else stopped the device */
	DEVICE_END_LEFT,    /* somebody else is to serve the device */
	DEVICE_END_BROKEN,  /* the driver refused a command of ours, a request is lost */
};

/*
 * Reports meanwhile what goes wrong, and lets the service manager know that all goes well.
 * @command_fd may be -1.
 */
enum device_end device_wait(struct device *device, int signal_fd, int command_fd);

/* The image has grown: so does the device, by whole blocks. 0 or -errno. */
int device_grow(struct device *device);

/* Bytes. */
uint64_t device_size(const struct device *device);

/* What its queues have done so far, and the last request that failed. */
unsigned device_nr_queues(const struct device *device);
struct queue_stats device_queue_stats(const struct device *device, unsigned q_id);
/* Count 0: none; *ret_time is in seconds since 1970. */
struct failure device_last_failure(const struct device *device, gint64 *ret_time);

/*
 * Acknowledged data may be lost. The device will not be left to another server unless the driver
 * knows of the loss. After device_stop().
 */
void device_note_loss(struct device *device);

/*
 * Waits for the requests in flight. Does nothing the second time. 0 or -errno: the
 * device was not stopped as it should, but it will be by device_free().
 */
int device_stop(struct device *device);

/* Deletes the device; stops it first if need be. NULL is fine. */
void device_free(struct device *device);

#endif
