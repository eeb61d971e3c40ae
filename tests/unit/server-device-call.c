// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands to the driver when a second handle or a thread cannot be had: they fail rather than keep
 * the main loop waiting, except for the one that stops the device. Linked with --wrap.
 */
#include <errno.h>
#include <pthread.h>

#include "device_parts.h"
#include "error.h"
#include "image-test.h"

int __real_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg);

static bool has_threads, has_handles;
static struct transport own, other;
static unsigned calls, others;	       /* others: handles that were not freed */
static const struct transport *called; /* the handle of the last call */
static pthread_t caller;

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg)
{
	return has_threads ? __real_pthread_create(ret_thread, attr, fn, arg) : EAGAIN;
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	g_assert_true(transport == &own);
	if (!has_handles) {
		error_set(err, -EMFILE, "a handle");
		return NULL;
	}
	others++;
	return &other;
}

static void free_handle(struct transport *transport)
{
	g_assert_true(transport == &other);
	others--;
}

static int command(struct transport *transport)
{
	calls++;
	called = transport;
	caller = pthread_self();
	return 42;
}

static int resize(struct transport *transport, uint64_t sectors)
{
	g_assert_cmpuint(sectors, ==, 8);
	return command(transport);
}

static const struct transport_ops driver = {
	.clone = clone_handle,
	.free = free_handle,
	.stop = command,
	.resize = resize,
};

static struct device new_device(bool threads, bool handles)
{
	has_threads = threads;
	has_handles = handles;
	own.ops = other.ops = &driver;
	calls = 0;
	return (struct device){ .transport = &own };
}

CO_TEST(test_calls)
{
	struct device device = new_device(true, true);

	g_assert_cmpint(device_co_call(&device, "ubd-test", command), ==, 42);
	g_assert_cmpint(device_co_resize(&device, 8), ==, 42);
	g_assert_cmpint(device_co_stop_disk(&device), ==, 42);
	g_assert_cmpuint(calls, ==, 3);
	g_assert_true(called == &other);
	g_assert_false(pthread_equal(caller, pthread_self()));
	g_assert_cmpuint(others, ==, 0);
}

static void co_check_without(struct device device, int error)
{
	g_assert_cmpint(device_co_call(&device, "ubd-test", command), ==, error);
	g_assert_cmpint(device_co_resize(&device, 8), ==, error);
	g_assert_cmpuint(calls, ==, 0);
	g_assert_cmpint(device_co_stop_disk(&device), ==, 42);
	g_assert_cmpuint(calls, ==, 1);
	g_assert_true(called == &own);
	g_assert_cmpuint(others, ==, 0);
}

CO_TEST(test_no_handle)
{
	co_check_without(new_device(true, false), -EMFILE);
}

CO_TEST(test_no_thread)
{
	co_check_without(new_device(false, true), -EAGAIN);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/device-call/calls", test_calls);
	g_test_add_func("/device-call/no-handle", test_no_handle);
	g_test_add_func("/device-call/no-thread", test_no_thread);
	return leave_scratch(folder, g_test_run());
}
