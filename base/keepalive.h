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

#include <stdint.h>

/* When a host counts as gone: longer than the kernel's longest pause between two questions. */
#define KEEPALIVE_VANISHED_NS UINT64_C(150000000000)

/* Ends the connection after that, if nothing is on its way. */
void keepalive_begin(int fd);

/* For how long the host has not answered, although something is on its way to it; 0 otherwise. */
uint64_t keepalive_silence_ns(int fd);

#endif
