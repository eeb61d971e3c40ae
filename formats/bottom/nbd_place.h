/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an NBD export is: the options of a node `nbd` that tell it, the URI that says the same
 * (the NBD URI specification), and QEMU's older form of a name, nbd:HOST:PORT:exportname=EXPORT.
 */
#ifndef UBD_NBD_PLACE_H
#define UBD_NBD_PLACE_H

#include "image.h"
#include "node_options.h"

/* What a node `nbd` understands beside node_common_options. */
extern const struct node_option nbd_options[];

/* NULL: not given. */
struct nbd_place {
	char *path;	    /* of a UNIX socket; or */
	char *host, *port;  /* of a TCP server */
	char *export_name;  /* never NULL */
	bool tls;	    /* required */
	char *certificates; /* folder with X.509 certificates; NULL: those of the system */
	char *psk_file;	    /* pre-shared keys instead */
	char *username;	    /* whose key */
	bool any_peer;	    /* whatever the server's certificate says */
};

/* Parses options that were checked against their table. nbd_place_clear() it, even on failure. */
int nbd_place_init(struct nbd_place *place, const struct node_options *options, GError **err);
void nbd_place_clear(struct nbd_place *place);

/* Its URI, the same for all ways to write it. The caller frees it. */
char *nbd_place_uri(const struct nbd_place *place);

/* Equal for equal exports: those of one name on one socket, or on one host and port. */
struct file_id nbd_place_id(const struct nbd_place *place);

/* For bottom_ops. */
int nbd_parse_name(const char *filename, struct node_options *options, GError **err);
char *nbd_make_name(const struct node_options *options, GError **err);
struct file_id nbd_identify(const char *filename);
bool nbd_is_same(const char *a, const char *b);
char *nbd_stable_name(const char *filename);

#endif
