/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Noticing that the host at the other end of a TCP connection has lost its power or its network.
 * Other sockets do not need it, and are left alone.
 *
 * The kernel can ask a host whether it is there, but only while nothing is on its way to it; after
 * that it takes a quarter of an hour for it to give up. TCP_USER_TIMEOUT is no help: it also ends
 * connections to hosts that answer, but whose program does not read.
 */
#ifndef UBD_KEEPALIVE_H
#define UBD_KEEPALIVE_H

#include <stdbool.h>
#include <stdint.h>

/* When a host counts as gone: longer than the kernel's longest pause between two questions. */
#define KEEPALIVE_VANISHED_NS UINT64_C(150000000000)
/* How often to look for that. */
#define KEEPALIVE_LOOK_NS     (KEEPALIVE_VANISHED_NS / 10)

/*
 * Has the kernel ask the host every minute while nothing is on its way, and end the connection if
 * it does not answer.
 */
void keepalive_begin(int fd);

/* For how long the host has not answered, although something is on its way to it; 0 otherwise. */
uint64_t keepalive_silence_ns(int fd);

/* Whether that is too long; the caller ends the connection. */
static inline bool keepalive_has_vanished(int fd)
{
	return keepalive_silence_ns(fd) >= KEEPALIVE_VANISHED_NS;
}

#endif
