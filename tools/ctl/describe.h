/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ubdctl says of a device, as text and as JSON. */
#ifndef UBD_CTL_DESCRIBE_H
#define UBD_CTL_DESCRIBE_H

#include <jansson.h>

#include "ctl.h"
#include "servers.h"

struct description {
	char path[32]; /* of the disk */
	struct transport_info info;
	struct device_params params;
	struct identity identity; /* zeroes: the driver cannot tell */
	bool started;		  /* params are those of a disk */
};

/* Of an open device, as far as it can be told: 0 or -errno. */
int describe(struct transport *transport, struct description *ret_description);

/* "live" and so on. */
const char *describe_state(const struct description *description);

/* The serial number, NULL if it has none. */
const char *describe_serial(const struct description *description);

/* Bytes, 0 without a disk. */
uint64_t describe_size(const struct description *description);

/* @server: the device's, which tells about the image; NULL: it is not known. */
void describe_text(const struct description *description, const struct server *server);
/* The caller frees it. */
json_t *describe_json(const struct description *description, const struct server *server);

#endif
