// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests that were accepted for another size of the disk: they wait for struct_lock while the
 * size changes.
 */
#include "image-test.h"

#define KIB 1024ull

struct request {
	struct image *img;
	uint64_t off, bytes;
	bool compressed;
	int ret;
};

/* An operation that holds struct_lock for writing when it yields. */
struct change {
	struct image *img;
	uint64_t size;	      /* to resize to, or ... */
	const char *snapshot; /* ... to apply */
	struct coroutine *waiter;
	unsigned pending;
};

struct pair {
	struct change *change;
	struct request *request;
};

static void co_end(struct change *change)
{
	if (--change->pending == 0 && change->waiter)
		co_wake(change->waiter);
}

static void change_co(void *arg)
{
	struct change *change = arg;
	int ret = change->snapshot
			  ? image_co_snapshot_apply(change->img, change->snapshot, NULL)
			  : image_co_resize(change->img, change->size, IMAGE_PREALLOC_OFF, NULL);

	g_assert_cmpint(ret, ==, 0);
	co_end(change);
}

static void request_co(void *arg)
{
	struct pair *pair = arg;
	struct request *r = pair->request;
	g_autofree uint8_t *data = g_malloc(r->bytes);
	struct iovec iov;

	memset(data, 0x22, r->bytes);
	r->ret = r->compressed ? image_co_pwrite_compressed(r->img, r->off, r->bytes,
							    IOBUF(&iov, data, r->bytes))
			       : image_co_pwrite(r->img, r->off, r->bytes, data, 0);
	co_end(pair->change);
}

/* Runs the change, and a request that is accepted during it. */
static void co_run_both(struct change *change, struct request *request)
{
	struct pair pair = { change, request };

	change->pending = 2;
	co_start(change_co, change);
	g_assert_cmpuint(change->pending, ==, 2);
	co_start(request_co, &pair);
	if (change->pending) {
		change->waiter = co_self();
		co_yield();
	}
}

static struct image *co_create_and_open(uint64_t size)
{
	struct image_create_opts opts = { .size = size, .size_given = true };
	g_autoptr(GError) err = NULL;

	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
	return co_open_ok("disk", "qcow2", IMAGE_RDWR);
}

/* As the short last cluster, it would otherwise replace what others write beyond the old end. */
CO_TEST(test_compressed_at_the_old_end)
{
	struct image *img = co_create_and_open(100 * KIB);
	struct change change = { .img = img, .size = 200 * KIB };
	struct request last = {
		.img = img, .off = 64 * KIB, .bytes = 36 * KIB, .compressed = true
	};

	/* A write to be flushed, so that the change yields before the new size is visible. */
	g_assert_cmpint(image_co_pwrite(img, 0, 4, "data", 0), ==, 0);
	co_run_both(&change, &last);
	g_assert_cmpint(last.ret, ==, -EINVAL);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_write_behind_the_new_end)
{
	struct image *img = co_create_and_open(100 * KIB);
	struct change change = { .img = img, .snapshot = "small" };
	struct request beyond = { .img = img, .off = 150 * KIB, .bytes = 4 * KIB };

	g_assert_cmpint(image_co_snapshot_create(img, "small", NULL), ==, 0);
	g_assert_cmpint(image_co_resize(img, 200 * KIB, IMAGE_PREALLOC_OFF, NULL), ==, 0);
	co_run_both(&change, &beyond);
	g_assert_cmpuint(image_size(img), ==, 100 * KIB);
	g_assert_cmpint(beyond.ret, ==, -EIO);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/qcow2-resize/compressed-at-the-old-end", test_compressed_at_the_old_end);
	g_test_add_func("/qcow2-resize/write-behind-the-new-end", test_write_behind_the_new_end);
	return leave_scratch(folder, g_test_run());
}
