/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GnuTLS, loaded by the first export with TLS: other servers would keep it locked in memory. */
#ifndef UBD_GNUTLS_LATE_H
#define UBD_GNUTLS_LATE_H

#include <glib.h>
#include <gnutls/gnutls.h>

/* gnutls.NAME() is gnutls_NAME(). */
#define GNUTLS_FUNCTIONS(X)                                                                        \
	X(bye)                                                                                     \
	X(certificate_allocate_credentials)                                                        \
	X(certificate_free_credentials)                                                            \
	X(certificate_server_set_request)                                                          \
	X(certificate_set_x509_crl_file)                                                           \
	X(certificate_set_x509_key_file2)                                                          \
	X(certificate_set_x509_trust_file)                                                         \
	X(credentials_set)                                                                         \
	X(deinit)                                                                                  \
	X(error_is_fatal)                                                                          \
	X(handshake)                                                                               \
	X(handshake_set_timeout)                                                                   \
	X(init)                                                                                    \
	X(priority_deinit)                                                                         \
	X(priority_init)                                                                           \
	X(priority_set)                                                                            \
	X(psk_allocate_server_credentials)                                                         \
	X(psk_free_server_credentials)                                                             \
	X(psk_set_server_credentials_file)                                                         \
	X(record_get_direction)                                                                    \
	X(record_recv)                                                                             \
	X(record_send)                                                                             \
	X(session_set_verify_cert)                                                                 \
	X(strerror)                                                                                \
	X(transport_set_ptr)                                                                       \
	X(transport_set_pull_function)                                                             \
	X(transport_set_push_function)

#define GNUTLS_POINTER(name) __typeof__(gnutls_##name) *name;

struct gnutls {
	GNUTLS_FUNCTIONS(GNUTLS_POINTER)
};

/* Set once gnutls_load() has returned 0. */
extern struct gnutls gnutls;

/* 0, or -errno with @err set. */
int gnutls_load(GError **err);

#endif
