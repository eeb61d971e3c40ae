/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files device*.c share; private to them. Each has one part of a device's life. */
#ifndef UBD_DEVICE_PARTS_H
#define UBD_DEVICE_PARTS_H

#include "align.h"
#include "device.h"
#include "params.h"

struct device {
	struct device_config config;
	struct transport *transport;
	struct transport_info info;
	int char_fd;
	int event_fd;
	struct queue **queues; /* info.queues, NULL where not started; NULL before them */
	struct watch *watch;   /* NULL before the queues */
	uint64_t sectors;      /* its size */
	uint32_t block_size;   /* logical, bytes */
	bool stopped;
	bool stays; /* the next server's: not ours to stop and to delete */
	bool left;  /* the driver has ended our FETCHes in good order */
};

/* ---- device_params.c ---- */

/* The parameters that suit the image. 0 or -errno with @err set, as the other two. */
int device_choose_params(const struct device *device, struct device_params *ret_params,
			 GError **err);
int device_set_params(struct device *device, struct device_params *params, GError **err);
/* The device stays as it was created, so the image must be able to serve it; it may have grown. */
int device_check_params(struct device *device, const struct device_params *params, GError **err);

/* ---- device_wait.c ---- */

/* Whether the device must end, judged by its queues; *ret_end says why. */
bool device_look_at_queues(struct device *device, enum device_end *ret_end);
/* Checks what is due. Returns the milliseconds until the next call at the latest; -1: any. */
int device_look_around(struct device *device);

/* ---- device_stop.c ---- */

/* When the file is closed, the driver fails everything that waits for us. */
void device_close_char(struct device *device);

#endif
