// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that must end while it is in use, with a driver and a clock that the test plays. */
#include <errno.h>
#include <glib.h>
#include <stdarg.h>
#include <stdio.h>

#include "aio.h"
#include "device_parts.h"
#include "report.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static uint64_t now_ns = NS_PER_S;
static uint64_t unused_at_ns; /* 0: never */
static int answer;	      /* of the driver, when nobody uses the disk */
static unsigned asked;	      /* so many times */
static const char *users;
static GString *said;

int __wrap_device_co_call(struct device *device, const char *name,
			  int (*call)(struct transport *transport));
char *__wrap_disk_users(const char *disk);
void __wrap_co_sleep_ns(uint64_t ns);
uint64_t __wrap_aio_now_ns(void);
uint64_t __wrap_aio_ns_from_now(uint64_t ns);
void __wrap_report_note(const char *format, ...);

int __wrap_device_co_call(struct device *device, const char *name,
			  int (*call)(struct transport *transport))
{
	g_assert_true(call == transport_stop_if_unused);
	asked++;
	return unused_at_ns && now_ns >= unused_at_ns ? answer : -EBUSY;
}

char *__wrap_disk_users(const char *disk)
{
	g_assert_cmpstr(disk, ==, "/dev/ubdb7");
	return g_strdup(users);
}

void __wrap_co_sleep_ns(uint64_t ns)
{
	now_ns += ns;
}

uint64_t __wrap_aio_now_ns(void)
{
	return now_ns;
}

uint64_t __wrap_aio_ns_from_now(uint64_t ns)
{
	return now_ns + ns;
}

void __wrap_report_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_string_append_vprintf(said, format, args);
	va_end(args);
	g_string_append_c(said, '\n');
}

struct job {
	struct device device;
	uint64_t until_ns;
	bool ended;
};

/* As device_co_wait() does, until the device ends, is left, or the time is over. */
static void wait_co(void *arg)
{
	struct job *job = arg;

	while (!job->ended && !job->device.asked_to_leave && now_ns < job->until_ns)
		job->ended = device_co_end_if_unused(&job->device);
}

/* Asks a device to end that is unused after @unused_ms, and looks after @seconds. */
static struct device end_device(enum in_use in_use, unsigned unused_ms, unsigned seconds, bool ends)
{
	struct transport transport = { .path = "/dev/ubdb7" };
	struct job job = { .device = { .transport = &transport, .config.in_use = in_use } };
	struct aio_loop *loop = aio_loop_new(8, NULL);

	g_assert_nonnull(loop);
	now_ns = NS_PER_S;
	asked = 0;
	unused_at_ns = now_ns + unused_ms * NS_PER_MS;
	job.until_ns = now_ns + seconds * NS_PER_S;
	g_string_truncate(said, 0);
	aio_loop_run_co(loop, wait_co, &job);
	aio_loop_free(loop);
	g_assert_cmpint(job.ended, ==, ends);
	job.device.transport = NULL;
	return job.device;
}

static void test_unused_device_ends_at_once(void)
{
	for (enum in_use in_use = IN_USE_WAIT; in_use <= IN_USE_LEAVE; in_use++) {
		g_assert_true(end_device(in_use, 0, 60, true).disk_gone);
		g_assert_cmpuint(asked, ==, 1);
		g_assert_cmpstr(said->str, ==, "");
	}
}

static void test_user_in_passing_is_awaited(void)
{
	for (enum in_use in_use = IN_USE_WAIT; in_use <= IN_USE_LEAVE; in_use++) {
		g_assert_true(end_device(in_use, 500, 60, true).disk_gone);
		g_assert_cmpstr(said->str, ==, "");
	}
}

static void test_used_device_waits(void)
{
	g_auto(GStrv) lines = NULL;

	users = "mounted on /mnt";
	g_assert_true(end_device(IN_USE_WAIT, 30000, 60, true).disk_gone);
	g_assert_cmpstr(said->str, ==,
			"/dev/ubdb7 is in use (mounted on /mnt); stopping once it is not; 'ubdctl "
			"stop --force' stops it immediately\n");
	/* It is told again once in a while. */
	g_assert_false(end_device(IN_USE_WAIT, 200000, 110, false).disk_gone);
	lines = g_strsplit(said->str, "\n", -1);
	g_assert_cmpuint(g_strv_length(lines), ==, 3);
	users = NULL;
}

static void test_used_device_is_left(void)
{
	struct device device = end_device(IN_USE_LEAVE, 30000, 60, false);

	g_assert_true(device.asked_to_leave);
	g_assert_false(device.disk_gone);
	g_assert_cmpuint(asked, >, 5);
	g_assert_cmpstr(
		said->str, ==,
		"/dev/ubdb7 is in use ('ubdctl stop' names its users); leaving it to the next "
		"server\n");
}

static void test_used_device_is_stopped_if_wanted(void)
{
	/* By device_co_stop(). */
	g_assert_false(end_device(IN_USE_STOP, 30000, 60, true).disk_gone);
	g_assert_cmpuint(asked, ==, 0);
}

static void test_use_that_cannot_be_known(void)
{
	answer = -EOPNOTSUPP;
	g_assert_false(end_device(IN_USE_WAIT, 0, 60, true).disk_gone);
	g_assert_true(end_device(IN_USE_LEAVE, 0, 60, false).asked_to_leave);
	answer = -ENODEV;
	g_assert_false(end_device(IN_USE_LEAVE, 0, 60, true).disk_gone);
	/* It may be possible later. */
	answer = -EMFILE;
	g_assert_false(end_device(IN_USE_WAIT, 0, 60, false).disk_gone);
	answer = 0;
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	said = g_string_new(NULL);
	g_test_add_func("/server/device-use/unused-device-ends-at-once",
			test_unused_device_ends_at_once);
	g_test_add_func("/server/device-use/user-in-passing-is-awaited",
			test_user_in_passing_is_awaited);
	g_test_add_func("/server/device-use/used-device-waits", test_used_device_waits);
	g_test_add_func("/server/device-use/used-device-is-left", test_used_device_is_left);
	g_test_add_func("/server/device-use/used-device-is-stopped-if-wanted",
			test_used_device_is_stopped_if_wanted);
	g_test_add_func("/server/device-use/use-that-cannot-be-known",
			test_use_that_cannot_be_known);
	return g_test_run();
}
