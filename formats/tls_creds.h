/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS credentials that the user gave an ID: a folder with QEMU's names for files. All are added
 * before the first image is opened; then any thread may look them up.
 */
#ifndef UBD_TLS_CREDS_H
#define UBD_TLS_CREDS_H

#include <glib.h>
#include <stdbool.h>

struct tls_creds {
	char *dir;
	bool is_psk;	/* pre-shared keys, in TLS_CREDS_PSK_FILE; otherwise certificates */
	bool is_server; /* what the credentials are for; otherwise a client */
	bool any_peer;	/* a certificate of the peer is not verified */
	char *username; /* of a client with a pre-shared key */
	/* Only of a server, since libnbd does not have them; NULL: none. */
	char *priority;	  /* GnuTLS's string for what may be negotiated */
	char *passwordid; /* the secret that the certificate's key is encrypted with */
};

/* Calls @fn for the folder of each. */
void tls_creds_each_folder(void (*fn)(const char *folder));

#define TLS_CREDS_PSK_FILE "keys.psk"

/* Copies @creds. Errors are worded as QEMU's: such as that files are missing. */
int tls_creds_add(const char *id, const struct tls_creds *creds, GError **err);
bool tls_creds_exist(const char *id);

/* NULL with @err set if there are none with that ID, or for the other endpoint. */
const struct tls_creds *tls_creds_get(const char *id, bool is_server, GError **err);

#endif
