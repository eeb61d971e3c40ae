/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static probes for tracers (USDT), all of the provider "ubd"; docs/tracing.md lists them. One that
 * nobody has attached to is an instruction that does nothing, and its arguments are only kept where
 * they are anyway: pass values that are at hand.
 */
#ifndef UBD_PROBES_H
#define UBD_PROBES_H

#ifdef UBD_USDT
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define UBD_PROBE(name, ...) STAP_PROBEV(ubd, name, __VA_ARGS__)
#else
#define UBD_PROBE(name, ...)                                                                       \
	do {                                                                                       \
	} while (0)
#endif

#endif
