// SPDX-License-Identifier: GPL-2.0-or-later
/* First frames for the switches in assembler: what co_switch() finds on a new stack. */
#include "co_switch.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define CO_SWITCH_FRAME_SIZE 64
#define CO_SWITCH_FRAME_PC   56
#elif defined(__aarch64__)
#define CO_SWITCH_FRAME_SIZE 176
#define CO_SWITCH_FRAME_PC   88
#else
#error "no co_switch() for this CPU; co_switch_ucontext.c is for all others"
#endif

static void co_switch_init_fpu(char *frame)
{
#if defined(__x86_64__)
	/* A new coroutine computes with its creator's floating-point settings. */
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1"
			 : "=m"(*(uint32_t *)frame), "=m"(*(uint16_t *)(frame + 4)));
#else
	__asm__ volatile("mrs x9, fpcr\n\tstr x9, [%0, #160]" : : "r"(frame) : "x9", "memory");
#endif
}

void *co_switch_prepare(void *stack, size_t size, void (*entry)(void))
{
	/*
	 * @entry is jumped to, so on x86-64 it must find the stack as if a call had pushed a return
	 * address: 8 past a multiple of 16. That slot is zero, and so are the frame pointers, which
	 * ends backtraces. On other CPUs sp is a multiple of 16.
	 */
	uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
	char *frame = (char *)(top - 16 - CO_SWITCH_FRAME_SIZE);
	uintptr_t pc = (uintptr_t)entry;

#if defined(__x86_64__)
	frame += 8;
#endif
	memset(frame, 0, top - (uintptr_t)frame);
	memcpy(frame + CO_SWITCH_FRAME_PC, &pc, sizeof(pc));
	co_switch_init_fpu(frame);
	return frame;
}
