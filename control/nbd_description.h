/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Properties of a device for which nbd.ko has no parameters, but which the next server and ubdctl
 * need. They are stored in the backend identifier, a text that nbd.ko keeps for each device. It
 * also identifies our devices.
 */
#ifndef UBD_NBD_DESCRIPTION_H
#define UBD_NBD_DESCRIPTION_H

#include <stdbool.h>

#include "transport.h"

struct nbd_description {
	struct transport_info info;
	struct identity identity;
	struct device_params params; /* dev_sectors: when the device was created */
};

/* The caller frees the text. */
char *nbd_description_to_text(const struct nbd_description *description);

/*
 * False if @text was not written by this version of ubd; *ret_description then stays unchanged.
 * Only checks the values on which memory safety depends.
 */
bool nbd_description_parse(const char *text, struct nbd_description *ret_description);

/* Reads that of a connected device; false: it is not connected, or to another program's server. */
bool nbd_description_read(uint32_t id, struct nbd_description *ret_description);

#endif
