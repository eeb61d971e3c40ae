// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rules of blkdebug: how they are written, and which requests fail or stop because of them.
 */
#include "filter/blkdebug_rules.h"

#include "image-test.h"
#include "node_json.h"

#define EVENT IMAGE_EVENT_READ_AIO
#define OTHER IMAGE_EVENT_L2_LOAD

static struct debug_rules *parsed(const char *config)
{
	struct debug_rules *rules = debug_rules_new();
	g_autoptr(GError) err = NULL;

	debug_rules_add_config(rules, "config", config, &err);
	g_assert_no_error(err);
	return rules;
}

static void refuses(const char *config, const char *message)
{
	struct debug_rules *rules = debug_rules_new();
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(debug_rules_add_config(rules, "config", config, &err), ==, -EINVAL);
	g_assert_cmpstr(err->message, ==, message);
	debug_rules_free(rules);
}

static void test_refused(void)
{
	refuses("event = \"read_aio\"\n", "no group defined");
	refuses("[other]\n", "There is no option group 'other'");
	refuses("[inject-error]\nevent = read_aio\n", "config: parse error: event = read_aio");
	refuses("[inject-error]\n", "Missing event name for rule");
	refuses("[inject-error]\n[set-state]\n", "Missing event name for rule");
	refuses("[inject-error]\nevent = \"nosuch\"\n", "invalid parameter value: nosuch");
	refuses("[inject-error]\nevent = \"none\"\nerrno = \"x\"\n",
		"Parameter 'errno' expects a number");
	refuses("[inject-error]\nevent = \"none\"\nonce = \"2\"\n",
		"Parameter 'once' expects 'on' or 'off'");
	refuses("[inject-error]\nevent = \"none\"\niotype = \"x\"\n", "invalid parameter value: x");
	refuses("[inject-error]\nnew_state = \"2\"\n",
		"[inject-error] section doesn't support the option 'new_state'");
	refuses("[set-state]\nerrno = \"2\"\n",
		"[set-state] section doesn't support the option 'errno'");
}

static int co_check(struct debug_rules *rules, enum debug_request request, uint64_t off)
{
	return debug_rules_co_check(rules, request, off, request == DEBUG_FLUSH ? 0 : 4096);
}

CO_TEST(test_which_requests_fail)
{
	struct debug_rules *rules = parsed("# all but block status\n"
					   "[inject-error \"id\"]\n"
					   "  event = \"read_aio\"\n\n");

	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, 0);
	debug_rules_co_event(rules, OTHER);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, 0);
	debug_rules_co_event(rules, EVENT);
	for (int request = DEBUG_READ; request < DEBUG_BLOCK_STATUS; request++)
		g_assert_cmpint(co_check(rules, request, 0), ==, -EIO);
	g_assert_cmpint(co_check(rules, DEBUG_BLOCK_STATUS, 0), ==, 0);
	debug_rules_free(rules);
}

CO_TEST(test_one_kind)
{
	struct debug_rules *rules = parsed("[inject-error]\nevent = \"none\"\nerrno = \"28\"\n"
					   "iotype = \"block-status\"\nimmediately = \"on\"\n");

	debug_rules_co_event(rules, IMAGE_EVENT_NONE);
	g_assert_cmpint(co_check(rules, DEBUG_BLOCK_STATUS, 0), ==, -ENOSPC);
	g_assert_cmpint(co_check(rules, DEBUG_WRITE, 0), ==, 0);
	debug_rules_free(rules);
}

CO_TEST(test_sector)
{
	struct debug_rules *rules = parsed("[inject-error]\nevent = \"none\"\nsector = \"16\"\n");

	debug_rules_co_event(rules, IMAGE_EVENT_NONE);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 4096), ==, 0);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 4608), ==, -EIO);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 8192), ==, -EIO);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 8704), ==, 0);
	g_assert_cmpint(co_check(rules, DEBUG_FLUSH, 0), ==, 0);
	debug_rules_free(rules);
}

CO_TEST(test_once)
{
	struct debug_rules *rules = parsed("[inject-error]\nevent = \"read_aio\"\nonce = \"on\"\n");

	debug_rules_co_event(rules, EVENT);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, -EIO);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, 0);
	debug_rules_co_event(rules, EVENT);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, 0);
	debug_rules_free(rules);
}

/* errno 0 is no error; and what arms rules disarms those of other events. */
CO_TEST(test_disarmed)
{
	struct debug_rules *rules = parsed("[inject-error]\nevent = \"read_aio\"\n"
					   "[inject-error]\nevent = \"l2_load\"\nerrno = \"0\"\n");

	debug_rules_co_event(rules, EVENT);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, -EIO);
	debug_rules_co_event(rules, OTHER);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, 0);
	debug_rules_free(rules);
}

/* A change of the state at an event does not count for other rules of that event. */
CO_TEST(test_states)
{
	struct debug_rules *rules =
		parsed("[set-state]\nevent = \"read_aio\"\nstate = \"1\"\nnew_state = \"2\"\n"
		       "[set-state]\nevent = \"read_aio\"\nstate = \"2\"\nnew_state = \"3\"\n"
		       "[inject-error]\nevent = \"read_aio\"\nstate = \"3\"\nerrno = \"5\"\n"
		       "[inject-error]\nevent = \"read_aio\"\nstate = \"2\"\nerrno = \"28\"\n");
	static const int expected[] = { 0, -ENOSPC, -EIO, -EIO };

	for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
		debug_rules_co_event(rules, EVENT);
		g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, expected[i]);
	}
	debug_rules_free(rules);
}

/* ---- options ---- */

static int add_options(const char *json, struct debug_rules *rules, GError **err)
{
	struct node_options *options = node_options_from_json(json, "", err);
	int ret;

	g_assert_nonnull(options);
	ret = debug_rules_add_options(rules, options, err);
	node_options_free(options);
	return ret;
}

CO_TEST(test_options)
{
	struct debug_rules *rules = debug_rules_new();
	g_autoptr(GError) err = NULL;

	add_options("{'inject-error': [{'event': 'l2_load', 'errno': 28},"
		    "                  {'event': 'read_aio', 'once': true}],"
		    " 'set-state.0.event': 'none', 'set-state.0.new_state': 2}",
		    rules, &err);
	g_assert_no_error(err);
	debug_rules_co_event(rules, EVENT);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, -EIO);
	debug_rules_co_event(rules, OTHER);
	g_assert_cmpint(co_check(rules, DEBUG_READ, 0), ==, -ENOSPC);
	debug_rules_free(rules);
}

static void test_options_with_a_gap(void)
{
	struct debug_rules *rules = debug_rules_new();
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(add_options("{'inject-error.1.event': 'none'}", rules, &err), ==, -EINVAL);
	g_assert_cmpstr(err->message, ==, "Unused option '1.event' for [inject-error]");
	debug_rules_free(rules);
}

/* ---- breakpoints ---- */

struct request {
	struct debug_rules *rules;
	bool done;
};

static void request_co(void *arg)
{
	struct request *request = arg;

	debug_rules_co_event(request->rules, EVENT);
	request->done = true;
}

CO_TEST(test_breakpoints)
{
	struct debug_rules *rules = debug_rules_new();
	struct request first = { rules, false }, second = { rules, false };
	struct co_group group = { 0 };

	g_assert_cmpint(debug_rules_break(rules, "nosuch", "A"), ==, -ENOENT);
	g_assert_cmpint(debug_rules_resume(rules, "A"), ==, -ENOENT);
	g_assert_cmpint(debug_rules_break(rules, "read_aio", "A"), ==, 0);
	co_group_start(&group, request_co, &first);
	debug_rules_co_wait_break(rules, "A");
	/* It stops one request. */
	co_group_start(&group, request_co, &second);
	co_reschedule();
	g_assert_true(second.done);
	g_assert_false(first.done);
	g_assert_cmpint(debug_rules_resume(rules, "B"), ==, -ENOENT);
	g_assert_cmpint(debug_rules_resume(rules, "A"), ==, 0);
	co_group_wait(&group);
	g_assert_true(first.done);
	debug_rules_free(rules);
}

/* A request that stops at two goes on when both let it. */
CO_TEST(test_two_breakpoints)
{
	struct debug_rules *rules = debug_rules_new();
	struct request request = { rules, false };
	struct co_group group = { 0 };

	g_assert_cmpint(debug_rules_break(rules, "read_aio", "A"), ==, 0);
	g_assert_cmpint(debug_rules_break(rules, "read_aio", "B"), ==, 0);
	co_group_start(&group, request_co, &request);
	debug_rules_co_wait_break(rules, "B");
	g_assert_cmpint(debug_rules_resume(rules, "B"), ==, 0);
	co_reschedule();
	g_assert_false(request.done);
	g_assert_cmpint(debug_rules_resume(rules, "A"), ==, 0);
	co_group_wait(&group);
	debug_rules_free(rules);
}

CO_TEST(test_removed_breakpoints)
{
	struct debug_rules *rules = debug_rules_new();
	struct request request = { rules, false }, later = { rules, false };
	struct co_group group = { 0 };

	g_assert_cmpint(debug_rules_remove_break(rules, "A"), ==, -ENOENT);
	g_assert_cmpint(debug_rules_break(rules, "read_aio", "A"), ==, 0);
	co_group_start(&group, request_co, &request);
	debug_rules_co_wait_break(rules, "A");
	g_assert_cmpint(debug_rules_break(rules, "read_aio", "A"), ==, 0);
	g_assert_cmpint(debug_rules_remove_break(rules, "A"), ==, 0);
	co_group_start(&group, request_co, &later);
	co_group_wait(&group);
	g_assert_true(request.done && later.done);
	debug_rules_free(rules);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/blkdebug-rules/refused", test_refused);
	g_test_add_func("/blkdebug-rules/which-requests-fail", test_which_requests_fail);
	g_test_add_func("/blkdebug-rules/one-kind", test_one_kind);
	g_test_add_func("/blkdebug-rules/sector", test_sector);
	g_test_add_func("/blkdebug-rules/once", test_once);
	g_test_add_func("/blkdebug-rules/disarmed", test_disarmed);
	g_test_add_func("/blkdebug-rules/states", test_states);
	g_test_add_func("/blkdebug-rules/options", test_options);
	g_test_add_func("/blkdebug-rules/options-with-a-gap", test_options_with_a_gap);
	g_test_add_func("/blkdebug-rules/breakpoints", test_breakpoints);
	g_test_add_func("/blkdebug-rules/two-breakpoints", test_two_breakpoints);
	g_test_add_func("/blkdebug-rules/removed-breakpoints", test_removed_breakpoints);
	return g_test_run();
}
