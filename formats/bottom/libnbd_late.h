/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnbd, loaded by the first image that is on an NBD server: it brings GnuTLS, libxml2 and ICU,
 * which take three times as long to load as the rest of a tool needs to start.
 */
#ifndef UBD_LIBNBD_LATE_H
#define UBD_LIBNBD_LATE_H

#include <glib.h>
#include <libnbd.h>

/* libnbd.NAME() is nbd_NAME(). */
#define LIBNBD_FUNCTIONS(X)                                                                        \
	X(add_meta_context)                                                                        \
	X(aio_block_status)                                                                        \
	X(aio_connect_tcp)                                                                         \
	X(aio_connect_unix)                                                                        \
	X(aio_disconnect)                                                                          \
	X(aio_flush)                                                                               \
	X(aio_get_direction)                                                                       \
	X(aio_get_fd)                                                                              \
	X(aio_is_closed)                                                                           \
	X(aio_is_connecting)                                                                       \
	X(aio_is_dead)                                                                             \
	X(aio_is_ready)                                                                            \
	X(aio_notify_read)                                                                         \
	X(aio_notify_write)                                                                        \
	X(aio_pread_structured)                                                                    \
	X(aio_pwrite)                                                                              \
	X(aio_trim)                                                                                \
	X(aio_zero)                                                                                \
	X(can_fast_zero)                                                                           \
	X(can_flush)                                                                               \
	X(can_fua)                                                                                 \
	X(can_meta_context)                                                                        \
	X(can_multi_conn)                                                                          \
	X(can_trim)                                                                                \
	X(can_zero)                                                                                \
	X(close)                                                                                   \
	X(create)                                                                                  \
	X(get_block_size)                                                                          \
	X(get_errno)                                                                               \
	X(get_error)                                                                               \
	X(get_size)                                                                                \
	X(is_read_only)                                                                            \
	X(set_export_name)                                                                         \
	X(set_tls)                                                                                 \
	X(set_tls_certificates)                                                                    \
	X(set_tls_psk_file)                                                                        \
	X(set_tls_username)                                                                        \
	X(set_tls_verify_peer)

#define LIBNBD_POINTER(name) __typeof__(nbd_##name) *name;

struct libnbd {
	LIBNBD_FUNCTIONS(LIBNBD_POINTER)
};

/* Set once libnbd_co_load() has returned 0. */
extern struct libnbd libnbd;

/* 0, or -errno with @err set. */
int libnbd_co_load(GError **err);

#endif
