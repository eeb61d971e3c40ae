/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What nbd.ko cannot be told about a device, but the next server and ubdctl must know. nbd.ko keeps
 * one text for each device, the backend identifier, by which a device of ours is recognised, too.
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
 * False if @text was not written by this version of ubd; then *ret_description stays as it is. What
 * it contains is checked as far as memory depends on it.
 */
bool nbd_description_parse(const char *text, struct nbd_description *ret_description);

/* That of a device which is connected; false: it is not, or to a server of others. */
bool nbd_description_read(uint32_t id, struct nbd_description *ret_description);

#endif
