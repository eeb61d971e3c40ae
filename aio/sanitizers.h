/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells AddressSanitizer and ThreadSanitizer what they cannot see, mainly stack switches; private
 * to aio/. Empty in builds without them.
 *
 * AddressSanitizer expects a call before each switch, with the bounds of the next stack, and one
 * after it. What it returns for the stack that was left is kept with that stack and passed back on
 * return to it; NULL instead means that the frames on it are gone for good.
 */
#ifndef UBD_SANITIZERS_H
#define UBD_SANITIZERS_H

#include <stddef.h>

#include "annotations.h"

#ifdef UBD_ASAN

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

static inline void asan_leave(void **ret_frames, const void *next_stack, size_t size)
{
	__sanitizer_start_switch_fiber(ret_frames, next_stack, size);
}

static inline void asan_arrive(void *frames, const void **ret_last_stack, size_t *ret_size)
{
	__sanitizer_finish_switch_fiber(frames, ret_last_stack, ret_size);
}

static inline void asan_forget(const void *stack, size_t size)
{
	__asan_unpoison_memory_region(stack, size);
}

#else

static inline void asan_leave(void **ret_frames, const void *next_stack, size_t size)
{
}

static inline void asan_arrive(void *frames, const void **ret_last_stack, size_t *ret_size)
{
}

/* No frame is left on @stack: clear all marks that were set for one. */
static inline void asan_forget(const void *stack, size_t size)
{
}

#endif

#ifdef UBD_TSAN

#include <sanitizer/tsan_interface.h>

static inline void *tsan_new_fiber(void)
{
	return __tsan_create_fiber(0);
}

static inline void tsan_free_fiber(void *fiber)
{
	__tsan_destroy_fiber(fiber);
}

static inline void *tsan_this_fiber(void)
{
	return __tsan_get_current_fiber();
}

/* Flags 0: what ran on the thread before the switch happened before what runs after it. */
static inline void tsan_switch(void *fiber)
{
	__tsan_switch_to_fiber(fiber, 0);
}

static inline void tsan_before_unmap(void *token)
{
	__tsan_release(token);
}

static inline void tsan_after_map(void *token)
{
	__tsan_acquire(token);
}

#else

static inline void *tsan_new_fiber(void)
{
	return NULL;
}

static inline void tsan_free_fiber(void *fiber)
{
}

static inline void *tsan_this_fiber(void)
{
	return NULL;
}

static inline void tsan_switch(void *fiber)
{
}

/*
 * Around system calls that ThreadSanitizer cannot see because liburing makes them: memory that one
 * thread unmapped and another one mapped is not shared by the two. All calls use the same @token.
 */
static inline void tsan_before_unmap(void *token)
{
}

static inline void tsan_after_map(void *token)
{
}

#endif
#endif
