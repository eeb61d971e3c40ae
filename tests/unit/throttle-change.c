// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Limits that change while requests wait for them, and their names. Linked with --wrap: only
 * sleeping makes time pass.
 */
#include <errno.h>
#include <string.h>

#include "aio-test.h"
#include "throttle_limits.h"

#define SEC 1000000000ull
#define MS  1000000ull

uint64_t __wrap_aio_now_ns(void);
void __wrap_co_sleep_ns(uint64_t ns);

static uint64_t now_ns;
static struct throttle_group *group;
/* What happens meanwhile. */
static uint64_t change_at_ns;
static const char *change_to;

static void set(const char *list)
{
	g_autoptr(GError) err = NULL;
	struct throttle_config config;

	throttle_group_get(group, &config);
	throttle_config_parse(&config, list, &err);
	g_assert_no_error(err);
	throttle_group_set(group, &config, &err);
	g_assert_no_error(err);
}

uint64_t __wrap_aio_now_ns(void)
{
	return now_ns;
}

void __wrap_co_sleep_ns(uint64_t ns)
{
	g_assert_cmpuint(ns, >, 0);
	now_ns += ns;
	if (change_to && now_ns >= change_at_ns) {
		set(change_to);
		change_to = NULL;
	}
}

static void begin(const char *limits)
{
	throttle_group_free(group);
	group = throttle_group_new();
	now_ns = 100 * SEC;
	change_to = NULL;
	set(limits);
}

/* How long @n requests of 4 KiB took, one after another, in ms. */
static uint64_t wait_for(unsigned n, bool is_write)
{
	uint64_t begin_ns = now_ns;

	for (unsigned i = 0; i < n; i++)
		throttle_group_co_wait(group, is_write, 4096, NULL, NULL);
	return (now_ns - begin_ns + MS / 2) / MS;
}

static void test_no_limits(void)
{
	begin("none");
	g_assert_cmpuint(wait_for(1000, true), ==, 0);
}

static void test_rates(void)
{
	/* A tenth of a second's worth may come at once, and one more. */
	begin("iops-total=100");
	g_assert_cmpuint(wait_for(211, false), ==, 2000);
	begin("bps-write=40960");
	g_assert_cmpuint(wait_for(1000, false), ==, 0);
	g_assert_cmpuint(wait_for(32, true), ==, 3000);
	begin("iops-read=10,iops-read-max=50,iops-read-max-length=2");
	g_assert_cmpuint(wait_for(106, false), ==, 2000);
}

/* A request that would wait for a minute goes on once it may. */
static void test_change(void)
{
	begin("bps-total=1k");
	g_assert_cmpuint(wait_for(1, false), ==, 0);
	change_at_ns = now_ns + 2 * SEC;
	change_to = "bps-total=1M";
	g_assert_cmpuint(wait_for(1, false), ==, 2000);
	/* At the new rate from then on. */
	g_assert_cmpuint(wait_for(25 + 512, false), ==, 1998);

	begin("iops-total=1");
	wait_for(1, false);
	change_at_ns = now_ns + SEC / 2;
	change_to = "none";
	g_assert_cmpuint(wait_for(1000, false), ==, 500);
	/* From unlimited to slow. */
	set("iops-total=1");
	g_assert_cmpuint(wait_for(4, false), >=, 2000);
}

static enum throttle_go count_down(void *arg)
{
	unsigned *left = arg;

	return --*left == 0 ? THROTTLE_START : THROTTLE_WAIT;
}

static enum throttle_go give_up(void *unused)
{
	return THROTTLE_GIVE_UP;
}

static void test_must_go(void)
{
	unsigned left = 5;

	begin("iops-total=1");
	wait_for(1, false);
	now_ns = 200 * SEC;
	wait_for(1, false);
	g_assert_true(throttle_group_co_wait(group, false, 1, count_down, &left));
	g_assert_cmpuint(left, ==, 0);
	g_assert_cmpuint(now_ns, <, 201 * SEC);
}

/* What gives up has used nothing, whichever limit it waited for, and whoever is behind it. */
static void test_gives_up(void)
{
	uint64_t behind_ns;

	begin("bps-total=4096,iops-total=10,iops-total-max=20,iops-total-max-length=2");
	wait_for(2, false);
	for (unsigned i = 0; i < 1000; i++)
		g_assert_false(throttle_group_co_wait(group, i % 2, 1 << 30, give_up, NULL));
	behind_ns = throttle_group_take(group, now_ns, false, 4096);
	g_assert_cmpuint((behind_ns - now_ns + MS / 2) / MS, ==, 1000);
	g_assert_false(throttle_group_co_wait(group, true, 1 << 30, give_up, NULL));
	g_assert_cmpuint(wait_for(1, false), ==, 2000);
}

/* ---- names ---- */

static void tell(void *arg, const char *name, uint64_t value)
{
	g_string_append_printf(arg, "%s=%" G_GUINT64_FORMAT " ", name, value);
}

/* What a list, after another one, makes. */
static void parses(const char *first, const char *second, const char *wanted)
{
	g_autoptr(GError) err = NULL;
	struct throttle_config config;
	GString *told = g_string_new(NULL);

	throttle_config_init(&config);
	g_assert_cmpint(throttle_config_parse(&config, first, &err), ==, 0);
	if (second)
		g_assert_cmpint(throttle_config_parse(&config, second, &err), ==, 0);
	throttle_config_for_each(&config, tell, told);
	g_assert_cmpstr(told->str, ==, wanted);
	g_string_free(told, TRUE);
}

static void test_names(void)
{
	parses("iops-total=1000,throttling.bps-read=10M", NULL,
	       "bps-read=10485760 iops-total=1000 ");
	parses("bps-total=1,bps-total-max=2,bps-total-max-length=3,iops-size=4k", NULL,
	       "bps-total=1 bps-total-max=2 bps-total-max-length=3 iops-size=4096 ");
	/* What is not named stays; a rate takes its burst along. */
	parses("iops-read=5,bps-write=9,bps-write-max=10", "bps-write=0", "iops-read=5 ");
	parses("iops-read=5,iops-read-max=6", "iops-read=7", "iops-read=7 iops-read-max=6 ");
	parses("iops-read=5", "none", "");
}

static void refuses(const char *list, const char *message)
{
	g_autoptr(GError) err = NULL;
	struct throttle_config config;

	throttle_config_init(&config);
	g_assert_cmpint(throttle_config_parse(&config, list, &err), ==, -EINVAL);
	g_assert_nonnull(strstr(err->message, message));
}

static void test_wrong_names(void)
{
	refuses("", "no limits");
	refuses("iops", "\"iops\" is not a limit");
	refuses("iops=1", "no limit \"iops\"");
	refuses("iops-total-min=1", "no limit \"iops-total-min\"");
	refuses("iops-total=fast", "\"fast\" is not a number");
	refuses("bps-total=1,none", "\"none\" is not a limit");
}

/* A change that is refused changes nothing. */
static void test_refused_change(void)
{
	g_autoptr(GError) err = NULL;
	struct throttle_config config;

	begin("iops-total=5");
	throttle_group_get(group, &config);
	throttle_config_set(&config, "iops-read", 5);
	g_assert_cmpint(throttle_group_set(group, &config, &err), ==, -EINVAL);
	g_assert_nonnull(err);
	throttle_group_get(group, &config);
	g_assert_cmpuint(config.limits[THROTTLE_IOPS_READ].rate, ==, 0);
	g_assert_cmpuint(config.limits[THROTTLE_IOPS_TOTAL].rate, ==, 5);
}

static int set_limits(const char *list)
{
	struct throttle_config config;

	throttle_group_get(group, &config);
	return throttle_config_parse(&config, list, NULL)
		       ?: throttle_group_set(group, &config, NULL);
}

/* 0 is no limit, and the size that counts as one request stays for the next limit. */
static void test_iops_size(void)
{
	struct throttle_config config;

	begin("bps-total=1G");
	g_assert_cmpint(set_limits("iops-size=4k"), ==, -EINVAL);
	g_assert_cmpint(set_limits("iops-total=0,iops-size=4k"), ==, 0);
	g_assert_cmpint(set_limits("iops-read=5"), ==, 0);
	g_assert_cmpint(set_limits("iops-read=0"), ==, 0);
	throttle_group_get(group, &config);
	g_assert_cmpuint(config.iops_size, ==, 4096);
	g_assert_cmpint(set_limits("none"), ==, 0);
	g_assert_cmpint(set_limits("iops-size=4k"), ==, -EINVAL);
}

int main(int argc, char **argv)
{
	int ret;

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/throttle-change/no-limits", test_no_limits);
	g_test_add_func("/throttle-change/rates", test_rates);
	g_test_add_func("/throttle-change/change", test_change);
	g_test_add_func("/throttle-change/must-go", test_must_go);
	g_test_add_func("/throttle-change/gives-up", test_gives_up);
	g_test_add_func("/throttle-change/names", test_names);
	g_test_add_func("/throttle-change/iops-size", test_iops_size);
	g_test_add_func("/throttle-change/wrong-names", test_wrong_names);
	g_test_add_func("/throttle-change/refused-change", test_refused_change);
	ret = g_test_run();
	throttle_group_free(group);
	return ret;
}
