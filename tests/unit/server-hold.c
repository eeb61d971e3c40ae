// SPDX-License-Identifier: GPL-2.0-or-later
/* Which failed requests are held, and what people are told about failures. */
#include <errno.h>
#include <glib.h>

#include "failures.h"
#include "hold.h"
#include "image.h"

static const struct hold_policy enospc = { .on_enospc = true };
static const struct hold_policy all = { .on_enospc = true, .on_error = true };
static const struct hold_policy none;

static void test_what_is_held(void)
{
	static const struct {
		const struct hold_policy *policy;
		uint8_t op;
		int error;
		bool held;
	} cases[] = {
		{ &enospc, REQUEST_WRITE, ENOSPC, true },
		{ &enospc, REQUEST_WRITE, EDQUOT, true },
		{ &enospc, REQUEST_WRITE_ZEROES, ENOSPC, true },
		{ &enospc, REQUEST_FLUSH, ENOSPC, true },
		{ &enospc, REQUEST_DISCARD, ENOSPC, false },
		{ &enospc, REQUEST_WRITE, EFBIG, false },
		{ &enospc, REQUEST_WRITE, EIO, false },
		{ &all, REQUEST_WRITE, EIO, true },
		{ &all, REQUEST_READ, ETIMEDOUT, true },
		{ &all, REQUEST_WRITE, EINVAL, false },
		{ &all, REQUEST_WRITE, EOPNOTSUPP, false },
		{ &all, REQUEST_DISCARD, EIO, false },
		{ &none, REQUEST_WRITE, ENOSPC, false },
		{ &none, REQUEST_WRITE, EIO, false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		g_assert_cmpint(hold_wants(cases[i].policy, cases[i].op, cases[i].error, 0), ==,
				cases[i].held);
}

/* Data that a flush lost is not found by a later one, and a truncated part does not come back. */
static void test_what_time_does_not_mend(void)
{
	g_assert_false(hold_wants(&all, REQUEST_FLUSH, ENOSPC, IMAGE_TROUBLE_LOST));
	g_assert_false(hold_wants(&all, REQUEST_READ, EIO, IMAGE_TROUBLE_CUT));
	g_assert_true(hold_wants(&all, REQUEST_WRITE, ENOSPC, IMAGE_TROUBLE_DELETED));
}

/* Shorter than the driver waits: a server that holds requests for longer would count as dead. */
static void test_how_long(void)
{
	struct hold_policy policy = { .timeout_s = 60 };

	g_assert_cmpint(hold_limit_us(&policy), ==, 60 * G_USEC_PER_SEC);
	policy.timeout_s = 0;
	g_assert_cmpint(hold_limit_us(&policy), ==, G_MAXINT64);
	g_assert_cmpint(hold_driver_limit_us(20), ==, 15 * G_USEC_PER_SEC);
	g_assert_cmpint(hold_driver_limit_us(0), ==, G_MAXINT64);
}

static void test_pauses_get_longer(void)
{
	uint64_t last = 0;

	for (unsigned tries = 0; tries < 100; tries++) {
		g_assert_cmpuint(hold_pause_ns(tries), >=, last);
		g_assert_cmpuint(hold_pause_ns(tries), <=, G_USEC_PER_SEC * 1000ull);
		last = hold_pause_ns(tries);
	}
	g_assert_cmpuint(hold_pause_ns(0), <, G_USEC_PER_SEC * 100ull);
	g_assert_cmpuint(last, ==, G_USEC_PER_SEC * 1000ull);
}

/* ---- messages ---- */

static GString *said;

static void say(void *arg, const char *line)
{
	g_string_append_printf(said, "%s\n", line);
}

static void add(struct failures *failures, enum request_op op, uint64_t off, uint32_t bytes,
		int error, uint64_t count)
{
	const struct request_desc desc = { .op = op, .guest_off = off, .bytes = bytes };
	struct failure failure = failure_of(&desc, error);

	failure.count = count;
	failures_add(failures, &failure);
}

static void check_said(const char *expected)
{
	g_assert_cmpstr(said->str, ==, expected);
	g_string_truncate(said, 0);
}

static void test_a_storm_is_a_line_every_ten_seconds(void)
{
	struct failures failures = {};
	gint64 now = 1234567, second = G_USEC_PER_SEC;

	said = g_string_new(NULL);
	g_assert_cmpint(failures_tell(&failures, "disk", now, say, NULL), ==, G_MAXINT64);
	add(&failures, REQUEST_WRITE, 1 << 20, 4096, ENOSPC, 1);
	g_assert_cmpint(failures_tell(&failures, "disk", now, say, NULL), ==, G_MAXINT64);
	check_said("disk: write of 4096 bytes at offset 1048576 failed: No space left on device\n");

	add(&failures, REQUEST_WRITE, 512, 512, EIO, 3);
	add(&failures, REQUEST_WRITE, 8192, 4096, ENOSPC, 1000);
	g_assert_cmpint(failures_tell(&failures, "disk", now + second, say, NULL), ==,
			now + 10 * second);
	check_said("");
	/* Another operation is reported separately. */
	add(&failures, REQUEST_FLUSH, 0, 0, EIO, 1);
	failures_tell(&failures, "disk", now + 2 * second, say, NULL);
	check_said("disk: flush failed: Input/output error\n");
	g_assert_cmpint(failures_tell(&failures, "disk", now + 10 * second, say, NULL), ==,
			G_MAXINT64);
	check_said(
		"disk: write of 512 bytes at offset 512 failed: Input/output error (and 1002 more)\n");
	/* Reporting continues for as long as the server lives. */
	add(&failures, REQUEST_WRITE, 0, 512, EIO, 1);
	failures_tell(&failures, "disk", now + 3600 * second, say, NULL);
	check_said("disk: write of 512 bytes at offset 0 failed: Input/output error\n");
	g_string_free(said, TRUE);
}

static void test_the_end_leaves_nothing_untold(void)
{
	struct failures failures = {};

	said = g_string_new(NULL);
	add(&failures, REQUEST_UNKNOWN, 0, 512, EOPNOTSUPP, 1);
	add(&failures, REQUEST_UNKNOWN, 0, 512, EOPNOTSUPP, 1);
	failures_tell(&failures, "disk", 1, say, NULL);
	g_string_truncate(said, 0);
	add(&failures, REQUEST_UNKNOWN, 0, 512, EOPNOTSUPP, 1);
	g_assert_cmpint(failures_tell(&failures, "disk", 2, say, NULL), <, G_MAXINT64);
	check_said("");
	g_assert_cmpint(failures_tell(&failures, "disk", G_MAXINT64, say, NULL), ==, G_MAXINT64);
	check_said("disk: operation of 512 bytes at offset 0 failed: Operation not supported\n");
	g_string_free(said, TRUE);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/hold/what-is-held", test_what_is_held);
	g_test_add_func("/hold/what-time-does-not-mend", test_what_time_does_not_mend);
	g_test_add_func("/hold/how-long", test_how_long);
	g_test_add_func("/hold/pauses-get-longer", test_pauses_get_longer);
	g_test_add_func("/failures/a-storm-is-a-line-every-ten-seconds",
			test_a_storm_is_a_line_every_ten_seconds);
	g_test_add_func("/failures/the-end-leaves-nothing-untold",
			test_the_end_leaves_nothing_untold);
	return g_test_run();
}
