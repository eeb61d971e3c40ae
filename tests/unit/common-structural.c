// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The structural operations of the crash and stress tests, one after the other with writes in
 * between: whatever the order, the images match what is remembered of them.
 */
#include "image-test.h"

#include "stamp.h"
#include "structural.h"

#define DISK_SIZE  (1u << 20)
#define OPERATIONS 60
#define WRITES	   4

static const struct image_spec spec = { .format = "qcow2", .size = DISK_SIZE };

static int co_reopen(struct structural *s)
{
	image_co_close(s->img);
	s->img = co_open_ok("structural.qcow2", "qcow2", IMAGE_RDWR);
	return 0;
}

static void begin(struct structural *s, const uint32_t *versions, uint64_t size)
{
}

static void end(struct structural *s, bool failed)
{
}

/* Without ticks, as in the stress test. */
static uint64_t now(struct structural *s)
{
	return 0;
}

static int co_open_once_more(const struct structural_view *view, const struct image_open_opts *opts,
			     struct image **ret_img, GError **err)
{
	return image_co_open("structural.qcow2", opts, ret_img, err);
}

static void co_write_some(struct structural *s, uint32_t version)
{
	uint8_t buf[8 * SECTOR_SIZE];
	uint64_t off = rng_below(&s->rng, image_size(s->img) / SECTOR_SIZE) * SECTOR_SIZE;
	uint64_t bytes = MIN(sizeof(buf), image_size(s->img) - off);

	stamp_fill(buf, off, bytes, version);
	g_assert_cmpint(image_co_pwrite(s->img, off, bytes, buf, 0), ==, 0);
}

static void co_verify(struct structural *s)
{
	struct structural_view view = { .cut = UINT64_MAX, .co_open = co_open_once_more };
	g_autofree char *failure = NULL;

	g_assert_cmpint(image_co_close(s->img), ==, 0);
	view.img = co_open_ok("structural.qcow2", "qcow2", 0);
	failure = structural_co_verify(s, &view);
	g_assert_cmpstr(failure, ==, NULL);
	image_co_close(view.img);
	s->img = co_open_ok("structural.qcow2", "qcow2", IMAGE_RDWR);
}

/* The operations whose result can be checked afterwards, and those that change the size. */
static void co_perform(struct structural *s)
{
	static const struct structural_op *const ops[] = {
		&structural_bitmaps,
		&structural_bitmaps,
		&structural_resize,
		&structural_snapshot,
	};

	g_assert_cmpint(structural_co_perform(s, ops[rng_below(&s->rng, G_N_ELEMENTS(ops))]), ==,
			0);
}

static void co_run_seed(uint64_t seed)
{
	uint32_t version = VERSION_FIRST;
	struct structural s;

	structural_init(&s, &spec, seed);
	s.co_reopen = co_reopen;
	s.begin = begin;
	s.end = end;
	s.now = now;
	co_create_ok("structural.qcow2", "qcow2", DISK_SIZE, NULL, NULL);
	s.img = co_open_ok("structural.qcow2", "qcow2", IMAGE_RDWR);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		for (unsigned j = 0; j < WRITES; j++)
			co_write_some(&s, version++);
		co_perform(&s);
		co_verify(&s);
	}
	g_assert_cmpint(image_co_close(s.img), ==, 0);
	structural_destroy(&s);
}

CO_TEST(test_any_order)
{
	for (uint64_t seed = 1; seed <= 4; seed++)
		co_run_seed(seed);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/structural/any-order", test_any_order);
	return leave_scratch(folder, g_test_run());
}
