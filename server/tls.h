/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS by GnuTLS, for the server's side of a channel (channel.h). Keys are those of QEMU: a folder
 * with certificates, or a file with pre-shared keys.
 */
#ifndef UBD_TLS_H
#define UBD_TLS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "aio.h"

struct channel;
struct tls_keys;
struct tls_session;

struct tls_config {
	/* With ca-cert.pem, server-cert.pem, server-key.pem and maybe ca-crl.pem; NULL: none. */
	const char *certificates;
	/* A file of lines USER:KEY in hexadecimal; or the folder that has it as keys.psk. */
	const char *psk;
	bool any_peer;		/* accept clients without a certificate of the CA */
	const char *priority;	/* GnuTLS's string for what may be negotiated; NULL: its default */
	const char *passwordid; /* the secret that server-key.pem is encrypted with; NULL: none */
};

/* Whether the configuration asks for TLS. */
bool tls_is_wanted(const struct tls_config *config);

/* Reads the keys. NULL with @err set on failure; the caller frees them with tls_keys_free(). */
struct tls_keys *tls_keys_new(const struct tls_config *config, GError **err);
/* No session may use them. NULL is fine. */
void tls_keys_free(struct tls_keys *keys);

/*
 * Shakes hands with the client, and encrypts @channel from now on. The caller keeps @keys. 0 or
 * -errno; -EACCES: the client did not prove who it is.
 */
int tls_co_begin(struct tls_keys *keys, struct channel *channel, struct aio_limit *limit);
/* Tells the peer, if that does not wait, and frees the session. NULL is fine. */
void tls_end(struct tls_session *tls);

/* For channel.c: as its functions. *sent grows with each record that was sent. */
ssize_t tls_co_recv(struct tls_session *tls, void *buf, size_t bytes, struct aio_limit *limit);
int tls_co_send_all(struct tls_session *tls, const struct iovec *iov, unsigned niov, uint64_t *sent,
		    struct aio_limit *limit);

#endif
