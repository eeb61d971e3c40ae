/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests and errors of the NBD protocol in the server's terms, for both kinds of clients: those
 * of an export, and nbd.ko.
 */
#ifndef UBD_NBD_WIRE_H
#define UBD_NBD_WIRE_H

#include <stdint.h>

#include "nbd_protocol.h"
#include "request_desc.h"

/* What the client asks for; nothing is checked. */
struct request_desc nbd_request_desc(const struct nbd_request *wire);
struct request_desc nbd_extended_request_desc(const struct nbd_extended_request *wire);

/* NBD_E... for a result: NBD_SUCCESS unless it is -errno. In the host's byte order. */
uint32_t nbd_error_of(int res);

#endif
