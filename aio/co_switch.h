/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bare switch from one stack to another; private to coroutine.c.
 *
 * A suspended context is one pointer into its own stack, which holds the registers that a function
 * call must preserve. Implemented in assembler for x86-64 and aarch64, and with ucontext (one
 * system call per switch) elsewhere.
 */
#ifndef UBD_CO_SWITCH_H
#define UBD_CO_SWITCH_H

#include <stddef.h>

/*
 * Creates a context on @stack (its lowest address, @size bytes) that calls @entry when it is first
 * switched to. @entry must not return.
 */
void *co_switch_prepare(void *stack, size_t size, void (*entry)(void));

/* Saves the caller's context to *@from and continues in @to; returns when control switches back. */
void co_switch(void **from, void *to);

#endif
