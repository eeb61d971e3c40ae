/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files device*.c share; private to them. Each has one part of a device's life. */
#ifndef UBD_DEVICE_PARTS_H
#define UBD_DEVICE_PARTS_H

#include "aio.h"
#include "align.h"
#include "device.h"
#include "disk.h"
#include "params.h"
#include "transport_queues.h"
#include "watchdog.h"

struct device {
	struct target target; /* once device_target() was called */
	struct device_config config;
	struct transport *transport;
	struct transport_info info;
	int char_fd;
	int no_fd; /* for its number, once it is closed and until no queue can use it; -1 */
	bool is_char_closed;
	int *queue_fds; /* -1: the queue uses char_fd; NULL before the queues */
	int event_fd;
	int place;	      /* on config.threads; -1: none */
	struct runfile *mark; /* for udev (disk_mark.h); NULL: none */
	struct aio_loop *
		*loops;	       /* of queues with their own threads, until they have them; or NULL */
	struct queue **queues; /* info.queues, NULL where not started; NULL before them */
	struct watch *watch;   /* NULL before the queues */
	struct watchdog watchdog;
	struct aio_limit watching; /* cancelled: device_watch_co() must end */
	struct aio_limit asking;   /* the same for leave_co() */
	struct co_group watchers;
	struct coroutine *waiter;  /* for news: something below has changed */
	uint64_t sectors;	   /* its size */
	uint32_t block_size;	   /* logical, bytes */
	bool asked_to_end;	   /* device_end() */
	uint64_t passing_until_ns; /* until when a user may be one in passing; 0: not asked yet */
	uint64_t report_users_ns;  /* when to report its users next */
	bool disk_gone;		   /* stopped, since nobody used it */
	bool asked_to_leave;	   /* device_leave() */
	bool leaves_when_idle;	   /* leave_when_idle_co() runs, or has run */
	bool broken;		   /* the driver refused a command: a request is lost */
	bool ended;		   /* a queue has ended */
	bool stopped;
	bool stays;   /* left to the next server: we must not stop or delete it */
	bool leaving; /* it is asked to leave: the queues end */
	bool left;    /* the driver took our queues back in good order */
};

/*
 * The driver's commands end only with threads that also serve other devices: what cannot be stopped
 * stays there, and fails its requests, until the process ends.
 */
static inline bool device_shares_commands(const struct device *device)
{
	return device->config.threads && device->transport &&
	       transport_queues(device->transport->ops)->keeps_commands;
}

/* ---- device_params.c ---- */

/* The parameters that suit the image. 0 or -errno with @err set, as the other two. */
int device_choose_params(const struct device_config *config, struct device_params *ret_params,
			 GError **err);
int device_set_params(struct device *device, struct device_params *params, GError **err);
/* The device stays as it was created, so the image must be able to serve it; it may have grown. */
int device_check_params(struct device *device, const struct device_params *params, GError **err);

/* ---- device_start.c ---- */

/* The queues ask for requests, and drop what they have of privileges. */
int device_co_start_queues(struct device *device, GError **err);

/* ---- device_wait.c ---- */

/* Watches the queues from now on; device_stop_watching() ends that. */
void device_start_watching(struct device *device);
void device_co_stop_watching(struct device *device);
/* As struct target_ops has it. */
bool device_is_alive(struct device *device);
/*
 * When the file is closed, the driver fails everything that waits for us, or keeps it. Its number
 * is not given to another file before device_co_free(), because the queues may still use it.
 */
void device_close_char(struct device *device);
/* Waits until device->asked_to_end, broken or ended is set, or device_news() is called. */
void device_co_wait_news(struct device *device);
void device_news(struct device *device);

/* ---- device_use.c ---- */

/*
 * Of a device that was asked to end: true if it must end now, and possibly has. Otherwise it is in
 * use: waits a moment, or sets device->asked_to_leave, as the options say.
 */
bool device_co_end_if_unused(struct device *device);

/* ---- device_held.c ---- */

/* What the queues do with held requests. */
void device_release_held(struct device *device, enum serve_release release);
/* After they were released to fail: until they are answered. */
void device_co_wait_for_held(struct device *device);

/* ---- device_call.c ---- */

/*
 * Runs call(transport) on a thread called @name, and returns its result: a command that waits for
 * requests or for other processes. The thread has another handle of the device, since the main loop
 * may use its own meanwhile. -errno, too, if the thread or the handle cannot be had.
 */
int device_co_call(struct device *device, const char *name,
		   int (*call)(struct transport *transport));
/* Stop and delete the device, whatever cannot be had. */
int device_co_stop_disk(struct device *device);
int device_co_delete(struct device *device);
int device_co_resize(struct device *device, uint64_t sectors);

#endif
