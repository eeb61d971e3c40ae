// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * co_switch() for CPUs for which there is none in assembler. swapcontext() saves the signal mask
 * with a system call, so this is only for portability.
 */
#include "co_switch.h"

#include <stdint.h>
#include <string.h>
#include <ucontext.h>

void *co_switch_prepare(void *stack, size_t size, void (*entry)(void))
{
	uintptr_t top = ((uintptr_t)stack + size - sizeof(ucontext_t)) & ~(uintptr_t)63;
	ucontext_t *context = (ucontext_t *)top;

	memset(context, 0, sizeof(*context));
	getcontext(context);
	context->uc_stack.ss_sp = stack;
	context->uc_stack.ss_size = top - (uintptr_t)stack;
	makecontext(context, entry, 0);
	return context;
}

/*
 * ThreadSanitizer has already been told of the switch, and would take this for the next coroutine's
 * code.
 */
__attribute__((no_sanitize("thread"))) void co_switch(void **from, void *to)
{
	ucontext_t here;

	*from = &here;
	swapcontext(&here, to);
}
