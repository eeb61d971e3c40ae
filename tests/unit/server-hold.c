// SPDX-License-Identifier: GPL-2.0-or-later
/* Which requests that fail are held, and what people are told of those that fail. */
#include <errno.h>
#include <glib.h>
#include <linux/ubd_cmd.h>

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
		{ &enospc, UBD_IO_OP_WRITE, ENOSPC, true },
		{ &enospc, UBD_IO_OP_WRITE, EDQUOT, true },
		{ &enospc, UBD_IO_OP_WRITE_ZEROES, ENOSPC, true },
		{ &enospc, UBD_IO_OP_FLUSH, ENOSPC, true },
		{ &enospc, UBD_IO_OP_DISCARD, ENOSPC, false },
		{ &enospc, UBD_IO_OP_WRITE, EFBIG, false },
		{ &enospc, UBD_IO_OP_WRITE, EIO, false },
		{ &all, UBD_IO_OP_WRITE, EIO, true },
		{ &all, UBD_IO_OP_READ, ETIMEDOUT, true },
		{ &all, UBD_IO_OP_WRITE, EINVAL, false },
		{ &all, UBD_IO_OP_WRITE, EOPNOTSUPP, false },
		{ &all, UBD_IO_OP_DISCARD, EIO, false },
		{ &none, UBD_IO_OP_WRITE, ENOSPC, false },
		{ &none, UBD_IO_OP_WRITE, EIO, false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		g_assert_cmpint(hold_wants(cases[i].policy, cases[i].op, cases[i].error, 0), ==,
				cases[i].held);
}

/* What a flush has lost no later one finds, and what was cut off does not come back. */
static void test_what_time_does_not_mend(void)
{
	g_assert_false(hold_wants(&all, UBD_IO_OP_FLUSH, ENOSPC, IMAGE_TROUBLE_LOST));
	g_assert_false(hold_wants(&all, UBD_IO_OP_READ, EIO, IMAGE_TROUBLE_CUT));
	g_assert_true(hold_wants(&all, UBD_IO_OP_WRITE, ENOSPC, IMAGE_TROUBLE_DELETED));
}

/* Never as long as the driver waits: a server that holds for longer would count as dead. */
static void test_how_long(void)
{
	struct hold_policy policy = { .timeout_s = 60 };

	g_assert_cmpint(hold_limit_us(&policy, 300), ==, 60 * G_USEC_PER_SEC);
	g_assert_cmpint(hold_limit_us(&policy, 0), ==, 60 * G_USEC_PER_SEC);
	g_assert_cmpint(hold_limit_us(&policy, 20), ==, 15 * G_USEC_PER_SEC);
	policy.timeout_s = 0;
	g_assert_cmpint(hold_limit_us(&policy, 300), ==, 225 * G_USEC_PER_SEC);
	g_assert_cmpint(hold_limit_us(&policy, 0), ==, G_MAXINT64);
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

/* ---- what is told ---- */

static GString *said;

static void say(const char *line)
{
	g_string_append_printf(said, "%s\n", line);
}

static void add(struct failures *failures, uint32_t op, uint64_t off, uint32_t bytes, int error,
		uint64_t count)
{
	const struct ubdsrv_io_desc desc = { op, bytes / 512, off / 512, 0 };
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
	g_assert_cmpint(failures_tell(&failures, "disk", now, say), ==, G_MAXINT64);
	add(&failures, UBD_IO_OP_WRITE, 1 << 20, 4096, ENOSPC, 1);
	g_assert_cmpint(failures_tell(&failures, "disk", now, say), ==, G_MAXINT64);
	check_said("disk: write of 4096 bytes at offset 1048576 failed: No space left on device\n");

	add(&failures, UBD_IO_OP_WRITE, 512, 512, EIO, 3);
	add(&failures, UBD_IO_OP_WRITE, 8192, 4096, ENOSPC, 1000);
	g_assert_cmpint(failures_tell(&failures, "disk", now + second, say), ==, now + 10 * second);
	check_said("");
	/* Another operation is another matter. */
	add(&failures, UBD_IO_OP_FLUSH, 0, 0, EIO, 1);
	failures_tell(&failures, "disk", now + 2 * second, say);
	check_said("disk: flush failed: Input/output error\n");
	g_assert_cmpint(failures_tell(&failures, "disk", now + 10 * second, say), ==, G_MAXINT64);
	check_said(
		"disk: write of 512 bytes at offset 512 failed: Input/output error (and 1002 more)\n");
	/* It goes on for as long as the server lives. */
	add(&failures, UBD_IO_OP_WRITE, 0, 512, EIO, 1);
	failures_tell(&failures, "disk", now + 3600 * second, say);
	check_said("disk: write of 512 bytes at offset 0 failed: Input/output error\n");
	g_string_free(said, TRUE);
}

static void test_the_end_leaves_nothing_untold(void)
{
	struct failures failures = {};

	said = g_string_new(NULL);
	add(&failures, 4, 0, 512, EOPNOTSUPP, 1);
	add(&failures, 200, 0, 512, EOPNOTSUPP, 1);
	failures_tell(&failures, "disk", 1, say);
	g_string_truncate(said, 0);
	add(&failures, 200, 0, 512, EOPNOTSUPP, 1);
	g_assert_cmpint(failures_tell(&failures, "disk", 2, say), <, G_MAXINT64);
	check_said("");
	g_assert_cmpint(failures_tell(&failures, "disk", G_MAXINT64, say), ==, G_MAXINT64);
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
