// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Throttle groups: when requests may start, by a clock of the test; and that the node waits.
 */
#include "throttle_group.h"

#include "image-test.h"
#include "object.h"

#define SEC 1000000000ull
#define MS  1000000ull

static struct throttle_group *new_group(const char *id, const char *limits)
{
	g_autofree char *text = g_strdup_printf("throttle-group,id=%s,%s", id, limits);
	g_autoptr(GError) err = NULL;

	object_create(text, &err);
	g_assert_no_error(err);
	return throttle_group_find(id);
}

static void refuses(const char *properties, const char *message)
{
	g_autofree char *text = g_strdup_printf("throttle-group,id=wrong,%s", properties);
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(object_create(text, &err), <, 0);
	g_assert_cmpstr(err->message, ==, message);
	g_assert_null(throttle_group_find("wrong"));
}

/* A request at @now_ms starts at @start_ms; the sums round. */
static void starts(struct throttle_group *group, uint64_t now_ms, bool is_write, uint64_t bytes,
		   uint64_t start_ms)
{
	uint64_t start = throttle_group_take(group, now_ms * MS, is_write, bytes);

	g_assert_cmpuint((start + MS / 2) / MS, ==, start_ms);
}

static void test_rate(void)
{
	struct throttle_group *group = new_group("rate", "x-bps-total=1000");

	/* The bucket holds 100. */
	starts(group, 5000, false, 1000, 5000);
	starts(group, 5000, true, 500, 5900);
	starts(group, 5950, false, 100, 6400);
	/* A pause does not add up to a burst. */
	starts(group, 60000, false, 1000, 60000);
	starts(group, 60000, false, 1, 60900);
}

static void test_requests(void)
{
	struct throttle_group *group = new_group("requests", "limits.iops-total=10");

	for (unsigned i = 0; i < 5; i++)
		starts(group, 1000, i % 2, 1 << 20, 1000 + (i ? (i - 1) * 100 : 0));
}

static void test_long_requests(void)
{
	struct throttle_group *group = new_group("long", "x-iops-total=10,x-iops-size=4096");

	starts(group, 1000, false, 6144, 1000);
	starts(group, 1000, false, 512, 1050);
	starts(group, 1000, false, 4096, 1150);
	starts(group, 1000, false, 1, 1250);
}

static void test_directions(void)
{
	struct throttle_group *group =
		new_group("directions", "x-iops-read=1,limits.bps-write=1000");

	starts(group, 1000, false, 1, 1000);
	starts(group, 1000, false, 1, 1900);
	starts(group, 1000, true, 2000, 1000);
	starts(group, 1000, true, 1, 2900);
	starts(group, 1000, false, 1, 2900);
}

static void test_bursts(void)
{
	struct throttle_group *group = new_group("bursts", "x-iops-total=2,x-iops-total-max=4");

	for (unsigned i = 0; i < 5; i++)
		starts(group, 1000, false, 1, 1000);
	starts(group, 1000, false, 1, 1500);
	starts(group, 1000, false, 1, 2000);
}

static void test_long_bursts(void)
{
	struct throttle_group *group = new_group(
		"long-bursts", "x-iops-total=1,x-iops-total-max=10,x-iops-total-max-length=2");

	/* 20 at the burst rate, then at the other one. */
	starts(group, 0, false, 1, 0);
	for (unsigned i = 0; i < 20; i++)
		starts(group, 0, false, 1, i * 100);
	starts(group, 0, false, 1, 1900 + 100);
	for (unsigned i = 0; i < 3; i++)
		throttle_group_take(group, 0, false, 1);
	g_assert_cmpuint(throttle_group_take(group, 0, false, 1), >, 3 * SEC);
}

/* ---- several requests at a time ---- */

struct request {
	uint64_t ms; /* when it comes, and later starts */
	bool is_write;
	uint64_t bytes;
	struct throttle_turn turn;
	uint64_t at_ns;
	bool started;
};

static struct request *next_in_time(struct request *requests, unsigned n)
{
	struct request *next = NULL;

	for (unsigned i = 0; i < n; i++)
		if (!requests[i].started && (!next || requests[i].at_ns < next->at_ns))
			next = &requests[i];
	return next;
}

/* Lets time pass until all have started. */
static void run(struct throttle_group *group, struct request *requests, unsigned n)
{
	struct request *req;

	for (unsigned i = 0; i < n; i++) {
		req = &requests[i];
		req->at_ns = req->ms * MS;
		req->turn =
			(struct throttle_turn){ .is_write = req->is_write, .bytes = req->bytes };
	}
	while ((req = next_in_time(requests, n))) {
		req->started = throttle_try(group, &req->turn, req->at_ns);
		if (!req->started) {
			g_assert_cmpuint(req->turn.again_ns, >, req->at_ns);
			req->at_ns = req->turn.again_ns;
		}
	}
	for (unsigned i = 0; i < n; i++)
		requests[i].ms = (requests[i].at_ns + MS / 2) / MS;
	g_assert_cmpuint(throttle_group_in_line(group), ==, 0);
}

/* What waits because of one limit does not pile up before the other. */
static void test_two_limits(void)
{
	struct throttle_group *group = new_group("two", "x-bps-total=1000,x-iops-total=10");
	struct request requests[24] = { { .bytes = 10000 } };

	for (unsigned i = 1; i < 24; i++)
		requests[i].bytes = 1;
	run(group, requests, 24);
	g_assert_cmpuint(requests[0].ms, ==, 0);
	for (unsigned i = 1; i < 24; i++)
		g_assert_cmpuint(requests[i].ms, ==, 9900 + (i > 2 ? (i - 2) * 100 : i - 1));
}

/* Requests that a limit on their direction keeps waiting have used nothing that all share. */
static void other_direction_starts(const char *id, const char *limits, bool is_write)
{
	struct throttle_group *group = new_group(id, limits);
	struct request requests[14] = { { .is_write = is_write, .bytes = 10 << 20 } };

	for (unsigned i = 1; i < 4; i++)
		requests[i] = (struct request){ .is_write = is_write, .bytes = 1 << 20 };
	for (unsigned i = 4; i < 14; i++)
		requests[i] =
			(struct request){ .ms = i * 200, .is_write = !is_write, .bytes = 4096 };
	run(group, requests, 14);
	g_assert_cmpuint(requests[0].ms, ==, 0);
	for (unsigned i = 1; i < 4; i++)
		g_assert_cmpuint(requests[i].ms, ==, 9900 + (i - 1) * 1000);
	for (unsigned i = 4; i < 14; i++)
		g_assert_cmpuint(requests[i].ms, ==, i * 200);
}

static void test_other_direction(void)
{
	other_direction_starts("reads-wait", "x-bps-read=1048576,x-iops-total=10", false);
	other_direction_starts("writes-wait", "x-bps-write=1048576,x-iops-total=10", true);
}

/* The same with requests that are limited by number, and a number of bytes that all share. */
static void test_shared_bytes(void)
{
	struct throttle_group *group =
		new_group("shared-bytes", "x-iops-read=1,x-bps-total=1048576");
	struct request requests[] = {
		{ .bytes = 512 },
		{ .bytes = 1 << 20 },
		{ .bytes = 1 << 20 },
		{ .ms = 0, .is_write = true, .bytes = 4096 },
		{ .ms = 500, .is_write = true, .bytes = 4096 },
		{ .ms = 2100, .is_write = true, .bytes = 4096 },
	};

	run(group, requests, G_N_ELEMENTS(requests));
	g_assert_cmpuint(requests[0].ms, ==, 0);
	g_assert_cmpuint(requests[1].ms, ==, 900);
	g_assert_cmpuint(requests[2].ms, ==, 1900);
	g_assert_cmpuint(requests[3].ms, ==, 0);
	g_assert_cmpuint(requests[4].ms, ==, 500);
	/* Behind a read that has started. */
	g_assert_cmpuint(requests[5].ms, ==, 2800);
}

/* While reads wait for one limit, they do not gather before another. */
static void reads_do_not_gather(const char *id, const char *limits)
{
	struct throttle_group *group = new_group(id, limits);
	struct request requests[60] = { { .bytes = 10 << 20 } };

	for (unsigned i = 1; i < 60; i++)
		requests[i] = (struct request){ .ms = i, .bytes = 1 };
	run(group, requests, 60);
	g_assert_cmpuint(requests[0].ms, ==, 0);
	g_assert_cmpuint(requests[1].ms, ==, 9900);
	for (unsigned i = 2; i < 60; i++)
		g_assert_cmpuint(requests[i].ms, ==, 9900 + (i - 2) * 100);
}

static void test_together(void)
{
	reads_do_not_gather("read-and-total", "x-iops-read=10,x-bps-total=1048576");
	reads_do_not_gather("total-and-read", "x-bps-read=1048576,x-iops-total=10");
	reads_do_not_gather("both-total", "x-bps-total=1048576,x-iops-total=10");
	reads_do_not_gather("both-read", "x-bps-read=1048576,x-iops-read=10");
}

/* ---- any limits, any requests ---- */

#define MANY 80

static int by_start(const void *a, const void *b)
{
	const struct request *one = a, *two = b;

	return one->at_ns < two->at_ns ? -1 : one->at_ns > two->at_ns;
}

static double amount(const struct request *req, unsigned kind)
{
	return kind < THROTTLE_IOPS_TOTAL ? req->bytes : 1;
}

static bool counts(const struct request *req, unsigned kind)
{
	return kind % 3 == 0 || (kind % 3 == 2) == req->is_write;
}

/* From the start of any request on, those that start have leaked out but for what the bucket holds.
 */
static void check_limit(const struct request *requests, unsigned kind, double rate, double room)
{
	for (unsigned i = 0; i < MANY; i++) {
		double inside = 0;

		for (unsigned j = i; j < MANY; j++) {
			double leaked = rate * (requests[j].at_ns - requests[i].at_ns) / SEC;

			if (!counts(&requests[j], kind))
				continue;
			g_assert_cmpfloat(inside - leaked, <=, room + .001 + rate / 1e6);
			inside += amount(&requests[j], kind);
		}
	}
}

static void random_limits(GRand *random, struct throttle_config *ret_config)
{
	throttle_config_init(ret_config);
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		struct throttle_limit *limit = &ret_config->limits[kind];
		bool others = kind % 3 && ret_config->limits[kind - kind % 3].rate;

		if (others || g_rand_boolean(random))
			continue;
		limit->rate = g_rand_int_range(random, 1, 40);
		if (kind < THROTTLE_IOPS_TOTAL)
			limit->rate *= 1000;
		if (g_rand_boolean(random))
			limit->burst_rate = limit->rate * 3;
		if (limit->burst_rate && g_rand_boolean(random))
			limit->burst_length = 2;
	}
}

static void random_requests(GRand *random, struct request *ret_requests)
{
	for (unsigned i = 0; i < MANY; i++)
		ret_requests[i] = (struct request){
			.ms = g_rand_int_range(random, 0, 5000),
			.is_write = g_rand_boolean(random),
			.bytes = g_rand_int_range(random, 0, 6) ? 500 : 20000,
		};
}

static void check_limits(const struct throttle_config *config, const struct request *requests)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		const struct throttle_limit *limit = &config->limits[kind];
		double burst = (double)limit->burst_rate * limit->burst_length;

		if (limit->rate)
			check_limit(requests, kind, limit->rate, burst ?: limit->rate / 10.);
		if (limit->burst_length > 1)
			check_limit(requests, kind, limit->burst_rate, limit->burst_rate / 10.);
	}
}

/* T1: each limit holds, whatever others there are. */
static void test_each_limit_holds(void)
{
	for (unsigned seed = 0; seed < 200; seed++) {
		g_autoptr(GRand) random = g_rand_new_with_seed(seed);
		struct throttle_group *group = throttle_group_new();
		struct request requests[MANY];
		struct throttle_config config;

		random_limits(random, &config);
		g_assert_cmpint(throttle_group_set(group, &config, NULL), ==, 0);
		random_requests(random, requests);
		run(group, requests, MANY);
		qsort(requests, MANY, sizeof(*requests), by_start);
		check_limits(&config, requests);
		throttle_group_free(group);
	}
}

/* T3: neither direction waits for those of the other one that came later. */
static void no_later_one_first(const char *id, const char *limits, bool is_write)
{
	struct throttle_group *group = new_group(id, limits);
	struct request requests[40];

	for (unsigned i = 0; i < 40; i++)
		requests[i] = (struct request){ .ms = i,
						.is_write = is_write ^ (i % 4 == 3),
						.bytes = 1 };
	run(group, requests, 40);
	for (unsigned i = 2; i < 40; i++)
		g_assert_cmpuint(requests[i].ms, ==, (i - 1) * 100);
}

static void test_order(void)
{
	no_later_one_first("many-reads", "x-iops-total=10", false);
	no_later_one_first("many-writes", "x-iops-total=10", true);
	no_later_one_first("many-fast-reads", "x-iops-total=10,x-bps-read=100", false);
}

/* What gives up has used nothing, and those behind it do not wait for it. */
static void test_gives_up(void)
{
	struct throttle_group *group = new_group("gives-up", "x-bps-read=1000,x-iops-total=10");
	struct throttle_turn turns[4] = { { .bytes = 2000 }, { .bytes = 1 << 30 }, { .bytes = 1 } };

	g_assert_true(throttle_try(group, &turns[0], 0));
	g_assert_false(throttle_try(group, &turns[1], 0));
	g_assert_false(throttle_try(group, &turns[2], 0));
	g_assert_cmpuint(turns[2].again_ns, >, 1000 * SEC);
	g_assert_true(throttle_give_up(group, &turns[1]));
	g_assert_false(throttle_try(group, &turns[2], 0));
	g_assert_cmpuint(turns[2].again_ns, ==, 1900 * MS);
	g_assert_false(throttle_try(group, &turns[3], 0));
	/* Whoever looks lets others start, which then cannot give up. */
	g_assert_true(throttle_try(group, &turns[3], 1901 * MS));
	g_assert_false(throttle_give_up(group, &turns[2]));
	g_assert_true(throttle_try(group, &turns[2], 1901 * MS));
	g_assert_cmpuint(throttle_group_in_line(group), ==, 0);
}

/* What starts in spite of a limit is paid for by those behind it. */
static void test_starts_anyway(void)
{
	struct throttle_group *group = new_group("anyway", "x-iops-read=10,x-bps-total=1000");
	struct throttle_turn turns[2] = { { .bytes = 500 }, { .bytes = 1000 } };

	g_assert_true(throttle_try(group, &turns[0], 0));
	g_assert_false(throttle_try(group, &turns[1], 0));
	throttle_start(group, &turns[1], 0);
	g_assert_true(throttle_try(group, &turns[1], 0));
	starts(group, 0, true, 1, 1400);
	starts(group, 1400, false, 1, 1401);
}

/* ---- threads ---- */

#define THREADS	   4
#define PER_THREAD 200

static struct throttle_group *shared;
static _Atomic uint64_t shared_ns;

static void *use_shared(void *arg)
{
	for (unsigned i = 0; i < PER_THREAD; i++) {
		struct throttle_turn turn = { .is_write = i % 2, .bytes = 1 };
		bool gives_up = i % 5 == 4;

		while (!throttle_try(shared, &turn, shared_ns)) {
			if (gives_up && throttle_give_up(shared, &turn))
				break;
			shared_ns += 100000;
		}
	}
	return NULL;
}

/* A thread may let a request of another start that gives up or tries again at the same time. */
static void test_threads(void)
{
	GThread *threads[THREADS];

	shared = new_group("threads", "x-iops-total=1000,x-bps-read=1000");
	for (unsigned i = 0; i < THREADS; i++)
		threads[i] = g_thread_new("user", use_shared, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		g_thread_join(threads[i]);
	g_assert_cmpuint(throttle_group_in_line(shared), ==, 0);
	/* Four of five did not give up; 100 may come at once. */
	g_assert_cmpuint(shared_ns, >=, (THREADS * PER_THREAD / 5 * 4 - 101) * MS);
}

/* Time that goes backwards between threads does no harm. */
static void test_earlier(void)
{
	struct throttle_group *group = new_group("earlier", "x-iops-total=10");

	starts(group, 2000, false, 1, 2000);
	starts(group, 1000, false, 1, 2000);
	starts(group, 2000, false, 1, 2100);
}

static void test_very_slow(void)
{
	struct throttle_group *group = new_group("slow", "x-bps-total=1");

	starts(group, 1000, false, INT64_MAX, 1000);
	for (unsigned i = 0; i < 3; i++)
		g_assert_cmpuint(throttle_group_take(group, 1000 * MS, true, INT64_MAX), ==,
				 INT64_MAX);
}

static void test_refused(void)
{
	refuses("x-iops-total=-1", "Property values cannot be negative");
	refuses("limits.iops-total=-1", "bps/iops/max values must be within [0, 1000000000000000]");
	refuses("x-iops-total=1k", "Parameter 'x-iops-total' expects integer");
	refuses("limits=1", "Invalid parameter type for 'limits', expected: object");
	refuses("limits.iops=1", "Parameter 'limits.iops' is unexpected");
	refuses("x-iops-total=9,limits.iops-read=9",
		"bps/iops/max total values and read/write values cannot be used at the same time");
	refuses("x-bps-read-max=9", "bps_max/iops_max require corresponding bps/iops values");
	refuses("x-bps-read=9,x-bps-read-max=8", "bps_max/iops_max cannot be lower than bps/iops");
	refuses("x-bps-read=9,x-bps-read-max-length=2", "burst length set without burst rate");
	refuses("x-bps-read=9,x-bps-read-max-length=0", "the burst length cannot be 0");
	refuses("x-bps-read=9,x-bps-read-max=1000000,x-bps-read-max-length=4294967295",
		"burst length too high for this burst rate");
	refuses("x-iops-size=9", "iops size requires an iops value to be set");
}

/* Only that it is not too early can be tested. */
CO_TEST(test_node_waits)
{
	const char *name = "json:{'driver':'throttle','throttle-group':'node','file':"
			   "{'driver':'raw','file':{'driver':'file','filename':'disk'}}}";
	g_autofree char *data = g_malloc0(65536);
	uint64_t began = aio_now_ns();
	struct image *img;

	write_file("disk", data, 65536);
	new_group("node", "x-iops-total=10");
	img = co_open_ok(name, NULL, IMAGE_RDWR | IMAGE_UNMAP);
	g_assert_cmpint(image_co_pwrite(img, 0, 512, data, 0), ==, 0);
	g_assert_cmpint(image_co_pread(img, 0, 65536, data), ==, 0);
	g_assert_cmpint(image_co_pdiscard(img, 0, 65536), ==, 0);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 65536, 0), ==, 0);
	g_assert_cmpuint(aio_now_ns() - began, >=, 199 * MS);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* ---- patience ---- */

/* A throttled node below a format, where a request waits for hours from now on. */
static struct image *co_open_slow(const char *id)
{
	g_autofree char *name = g_strdup_printf(
		"json:{'driver':'qcow2','file':{'driver':'throttle','throttle-group':'%s',"
		"'file':{'driver':'file','filename':'slow'}}}",
		id);
	struct image_create_opts opts = { .size = 1 << 20, .size_given = true };
	struct throttle_group *group = new_group(id, "x-iops-total=1000000");
	struct throttle_config config;
	struct image *img;

	g_assert_cmpint(image_co_create("slow", "qcow2", &opts, NULL, NULL), ==, 0);
	img = co_open_ok(name, NULL, IMAGE_RDWR);
	throttle_config_init(&config);
	config.limits[THROTTLE_BPS_TOTAL].rate = 1;
	g_assert_cmpint(throttle_group_set(group, &config, NULL), ==, 0);
	throttle_group_take(group, aio_now_ns(), true, 1 << 20);
	return img;
}

struct slow_write {
	struct image *img;
	bool has_ended;
};

static void write_co(void *arg)
{
	struct slow_write *slow = arg;
	char data[4096] = "x";

	g_assert_cmpint(image_co_pwrite(slow->img, 0, sizeof(data), data, 0), ==, 0);
	slow->has_ended = true;
}

/* At the end nothing waits, nor does what is written when the image is closed. */
CO_TEST(test_end_of_patience)
{
	struct slow_write slow = { .img = co_open_slow("ending") };
	struct co_group group = { 0 };

	co_group_start(&group, write_co, &slow);
	co_sleep_ns(MS);
	g_assert_false(slow.has_ended);
	image_set_patience(slow.img, 0);
	co_group_wait(&group);
	g_assert_cmpint(image_co_close(slow.img), ==, 0);
}

/* A user of the node may let requests wait before. */
CO_TEST(test_user_waits)
{
	struct slow_write slow = { .img = co_open_slow("user") };
	struct image *node = image_file(slow.img);

	g_assert_null(image_take_throttle(slow.img));
	g_assert_true(image_take_throttle(node) == throttle_group_find("user"));
	write_co(&slow);
	image_give_back_throttle(node);
	image_set_patience(slow.img, 0);
	g_assert_cmpint(image_co_close(slow.img), ==, 0);
}

/* Each wait ends in time; only that it is not too early can be tested. */
CO_TEST(test_patience)
{
	struct slow_write slow = { .img = co_open_slow("patient") };
	uint64_t began = aio_now_ns();

	image_set_patience(slow.img, 20 * MS);
	write_co(&slow);
	g_assert_cmpuint(aio_now_ns() - began, >=, 20 * MS);
	g_assert_cmpint(image_co_close(slow.img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/throttle-group/rate", test_rate);
	g_test_add_func("/throttle-group/requests", test_requests);
	g_test_add_func("/throttle-group/long-requests", test_long_requests);
	g_test_add_func("/throttle-group/directions", test_directions);
	g_test_add_func("/throttle-group/bursts", test_bursts);
	g_test_add_func("/throttle-group/long-bursts", test_long_bursts);
	g_test_add_func("/throttle-group/two-limits", test_two_limits);
	g_test_add_func("/throttle-group/other-direction", test_other_direction);
	g_test_add_func("/throttle-group/shared-bytes", test_shared_bytes);
	g_test_add_func("/throttle-group/together", test_together);
	g_test_add_func("/throttle-group/each-limit-holds", test_each_limit_holds);
	g_test_add_func("/throttle-group/order", test_order);
	g_test_add_func("/throttle-group/gives-up", test_gives_up);
	g_test_add_func("/throttle-group/starts-anyway", test_starts_anyway);
	g_test_add_func("/throttle-group/threads", test_threads);
	g_test_add_func("/throttle-group/earlier", test_earlier);
	g_test_add_func("/throttle-group/very-slow", test_very_slow);
	g_test_add_func("/throttle-group/refused", test_refused);
	g_test_add_func("/throttle-group/node-waits", test_node_waits);
	g_test_add_func("/throttle-group/end-of-patience", test_end_of_patience);
	g_test_add_func("/throttle-group/user-waits", test_user_waits);
	g_test_add_func("/throttle-group/patience", test_patience);
	return leave_scratch(folder, g_test_run());
}
