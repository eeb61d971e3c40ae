/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life cycle of a block device, on the driver's side of the server:
 *
 *   device_co_add()   Creates the device in the driver, without a disk, or adopts it from a server
 *                     that has ended. With some drivers, the queues already wait for requests.
 *   device_co_start() Creates the disk, which the queues serve.
 *   device_co_wait()  Waits until the device must end, and returns the reason.
 *   device_co_stop()  No more requests arrive; the queue threads have ended.
 *   device_co_free()  Deletes the device, or leaves it to the next server.
 *
 * The image is closed between the last two, so that the device's number is free again, or the next
 * server takes over, only when the image is safe. Main loop only: functions that may wait for
 * requests or for the driver are coroutines.
 */
#ifndef UBD_DEVICE_H
#define UBD_DEVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "failures.h"
#include "hold.h"
#include "identity.h"
#include "queue.h"
#include "target.h"
#include "transport.h"

struct device;
struct disk;
struct queue_threads;
struct throttle_group;

/* What device_end() does to a device that is in use. */
enum in_use {
	IN_USE_WAIT,  /* end it once it is not */
	IN_USE_LEAVE, /* leave it to the next server */
	IN_USE_STOP,  /* end it */
};

struct device_config {
	struct disk *disk;
	/* Threads for its queues (not for DATA_COPY); NULL: each queue has its own thread. */
	struct queue_threads *threads;
	bool discard;	     /* accept discards */
	uint32_t block_size; /* logical, bytes; 0: the image's */
	struct hold_policy hold;
	struct throttle_group *throttle; /* NULL: none */
	enum in_use in_use;
	guint64 watchdog_us; /* of supervisor_watchdog_us() */
	/*
	 * A device that was taken over; device_co_add() owns it, even on failure, and it is not
	 * deleted before it is live again. NULL: create a new device.
	 */
	struct transport *recovered;
	int char_fd; /* of @recovered: the server's file, which device_co_add() then owns */
	/* Only for a new device. */
	const struct transport_ops *driver;
	/*
	 * If the process no longer has privileges: the control fd of the device, which a privileged
	 * process has added according to device_describe(); or, for a driver without control fds,
	 * an order (keeper_order.h). device_co_add() owns it, even on failure. -1: neither.
	 */
	int given_fd;
	uint32_t id;	 /* or TRANSPORT_ANY_ID */
	uint16_t queues; /* 0: one per CPU, up to a few */
	uint16_t depth;
	enum recovery recovery;
	uint32_t request_timeout; /* as in struct device_params */
	bool no_partition_scan;
	bool no_probe;		   /* tell udev not to examine the contents */
	uint32_t recovery_timeout; /* seconds to wait for another server; 0: no limit */
	struct identity identity;
	/*
	 * DATA_ANY: zero copy if the driver offers it, and @threads have room for its buffers;
	 * otherwise copy, or, with @threads, user copy.
	 */
	enum data_way data;
};

/* Maximum number of queues; each has an aio loop, and so has the main thread. */
#define DEVICE_MAX_QUEUES 128

/*
 * Adds or adopts the device, which requires privileges. The disk has no image yet; call
 * device_co_fit() once it has. On failure, NULL with @err set, and nothing is left behind. Free it
 * with device_co_free().
 */
struct device *device_co_add(const struct device_config *config, GError **err);

/* The properties to request from the driver for a device with these settings. */
struct transport_info device_describe(const struct device_config *config);

/* The device as a target, whose functions are those below. */
struct target *device_target(struct device *device);

/* Whether a device could show the disk's image. 0, or < 0 with @err set. */
int device_check_image(const struct device_config *config, GError **err);

/*
 * Asks the driver for requests if that requires privileges, which the queues then drop. Once,
 * before device_co_fit().
 */
int device_co_ask(struct device *device, GError **err);

/*
 * Sets the parameters that depend on the image, or checks that the image matches those of the
 * device. 0, or < 0 with @err set.
 */
int device_co_fit(struct device *device, GError **err);

/*
 * Starts the queues and the disk. From then on, one coroutine takes the events of the queues and
 * reports problems, and another sends keep-alive messages to the service manager. After a failure,
 * device_co_stop() must still be called.
 */
int device_co_start(struct device *device, GError **err);

/*
 * Asks the device to end: a start in progress fails, and device_co_wait() returns, unless the
 * device is in use and config.in_use says otherwise. Does not wait; further calls do nothing.
 */
void device_end(struct device *device);

/*
 * Leaves the device to another server, as if that server had asked, if @how refers to this device;
 * false if the device does not outlive its server.
 */
bool device_leave(struct device *device, const struct transport_leave *how);

/* The descriptor that a service manager keeps, and whether the device outlives its server. */
int device_control_fd(const struct device *device);
bool device_recovers(const struct device *device);

/* The disk in /dev; owned by the device. */
const char *device_path(const struct device *device);

/* Waits until the device must end, and returns the reason. */
enum target_end device_co_wait(struct device *device);

/* Grows the device, by whole blocks, after the image has grown. 0 or -errno. */
int device_co_grow(struct device *device);

/* Bytes. */
uint64_t device_size(const struct device *device);

/* Statistics of its queues, and the last failed request. */
unsigned device_nr_queues(const struct device *device);
void device_queue_stats(const struct device *device, unsigned q_id, struct serve_stats *sum);
/* Count 0: none; *ret_time is in seconds since 1970. */
struct failure device_last_failure(const struct device *device, gint64 *ret_time);

/*
 * Notes that acknowledged data may be lost: the device will not be left to another server unless
 * the driver knows about the loss. After device_co_stop().
 */
void device_note_loss(struct device *device);

/*
 * Stops the device and waits for requests in flight. Does nothing the second time. 0 or -errno: the
 * device was not stopped properly, but device_co_free() will stop it.
 */
int device_co_stop(struct device *device);

/* Deletes the device; stops it first if necessary. NULL is fine. */
void device_co_free(struct device *device);

#endif
