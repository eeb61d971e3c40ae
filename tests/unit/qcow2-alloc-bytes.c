// SPDX-License-Identifier: GPL-2.0-or-later
/* Space for compressed data: how it is packed and counted, and when the allocator moves on. */
#include "image-test.h"
#include "image_int.h"
#include "qcow2/qcow2.h"

#define CLUSTER 65536u

static struct image *co_open_new(const char *cluster_size, const char *refcount_bits)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = { .size = 64 << 20,
					  .size_given = true,
					  .options = options };
	g_autoptr(GError) err = NULL;

	g_hash_table_insert(options, "cluster_size", (char *)cluster_size);
	g_hash_table_insert(options, "refcount_bits", (char *)refcount_bits);
	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
	return co_open_ok("disk", "qcow2", IMAGE_RDWR | IMAGE_UNMAP);
}

/* In a new image with default clusters. */
#define ALLOC_TEST(name, refcount_bits)                                                            \
	static void name##_run(struct qcow2 *q) REQUIRES(q->alloc_lock);                           \
	CO_TEST(name)                                                                              \
	{                                                                                          \
		struct image *img = co_open_new("64k", refcount_bits);                             \
		struct qcow2 *q = img->opaque;                                                     \
                                                                                                   \
		co_mutex_lock(&q->alloc_lock);                                                     \
		name##_run(q);                                                                     \
		co_mutex_unlock(&q->alloc_lock);                                                   \
		g_assert_cmpint(image_co_close(img), ==, 0);                                       \
	}                                                                                          \
	static void name##_run(struct qcow2 *q)

static uint64_t co_alloc(struct qcow2 *q, uint32_t bytes) REQUIRES(q->alloc_lock)
{
	uint64_t host_off;

	g_assert_cmpint(qcow2_co_alloc_bytes(q, bytes, &host_off), ==, 0);
	return host_off;
}

static uint64_t co_refcount(struct qcow2 *q, uint64_t host_off) REQUIRES(q->alloc_lock)
{
	uint64_t refcount;

	g_assert_cmpint(qcow2_co_get_refcount(q, host_off / CLUSTER, &refcount), ==, 0);
	return refcount;
}

static uint64_t co_alloc_cluster(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t host_off, nr;
	bool fresh;

	g_assert_cmpint(qcow2_co_alloc_clusters(q, 1, &host_off, &nr, &fresh), ==, 0);
	return host_off;
}

ALLOC_TEST(test_packs, "16")
{
	uint64_t first = co_alloc(q, 1000);

	g_assert_cmpuint(first % CLUSTER, ==, 0);
	g_assert_cmpuint(co_alloc(q, 1), ==, first + 1000);
	g_assert_cmpuint(co_alloc(q, 500), ==, first + 1001);
	g_assert_cmpuint(co_refcount(q, first), ==, 3);
	g_assert_cmpint(qcow2_co_put_bytes(q, first + 1000, 1), ==, 0);
	g_assert_cmpuint(co_refcount(q, first), ==, 2);
	/* Space that was freed in the middle is not reused. */
	g_assert_cmpuint(co_alloc(q, 1), ==, first + 1501);
}

ALLOC_TEST(test_crosses_a_border, "16")
{
	uint64_t first = co_alloc(q, CLUSTER - 10);
	uint64_t second = co_alloc(q, 100);

	g_assert_cmpuint(second, ==, first + CLUSTER - 10);
	g_assert_cmpuint(co_refcount(q, first), ==, 2);
	g_assert_cmpuint(co_refcount(q, first + CLUSTER), ==, 1);
	g_assert_cmpuint(co_alloc(q, 100), ==, second + 100);
	g_assert_cmpuint(co_refcount(q, first + CLUSTER), ==, 2);
	g_assert_cmpint(qcow2_co_put_bytes(q, second, 100), ==, 0);
	g_assert_cmpuint(co_refcount(q, first), ==, 1);
	g_assert_cmpuint(co_refcount(q, first + CLUSTER), ==, 1);
}

/* A full cluster is left, and the next one is not allocated before it is needed. */
ALLOC_TEST(test_fills_a_cluster, "16")
{
	uint64_t first = co_alloc(q, CLUSTER - 10);

	g_assert_cmpuint(co_alloc(q, 10), ==, first + CLUSTER - 10);
	g_assert_cmpuint(co_refcount(q, first), ==, 2);
	g_assert_cmpuint(co_refcount(q, first + CLUSTER), ==, 0);
	g_assert_cmpuint(co_alloc(q, 10), ==, first + CLUSTER);
	g_assert_cmpuint(co_refcount(q, first), ==, 2);
}

/* If another user has the next cluster, the rest of this one is given up. */
ALLOC_TEST(test_no_neighbour, "16")
{
	uint64_t first = co_alloc(q, CLUSTER - 10);
	uint64_t other = co_alloc_cluster(q);

	g_assert_cmpuint(other, ==, first + CLUSTER);
	g_assert_cmpuint(co_alloc(q, 100), ==, other + CLUSTER);
	g_assert_cmpuint(co_refcount(q, first), ==, 1);
	g_assert_cmpuint(co_refcount(q, other), ==, 1);
	g_assert_cmpuint(co_refcount(q, other + CLUSTER), ==, 1);
}

ALLOC_TEST(test_one_bit, "1")
{
	uint64_t first = co_alloc(q, CLUSTER - 10);

	g_assert_cmpuint(co_alloc(q, 5), ==, first + CLUSTER);
	g_assert_cmpuint(co_alloc(q, 100), ==, first + 2 * CLUSTER);
	for (unsigned i = 0; i < 3; i++)
		g_assert_cmpuint(co_refcount(q, first + i * CLUSTER), ==, 1);
}

ALLOC_TEST(test_two_bits, "2")
{
	uint64_t first = co_alloc(q, 10);

	g_assert_cmpuint(co_alloc(q, 10), ==, first + 10);
	g_assert_cmpuint(co_alloc(q, 10), ==, first + 20);
	g_assert_cmpuint(co_refcount(q, first), ==, 3);
	g_assert_cmpuint(co_alloc(q, 10), ==, first + CLUSTER);
	g_assert_cmpuint(co_refcount(q, first), ==, 3);
	/*
	 * Full in another way: the refcount of the cluster that crosses the border would overflow.
	 */
	g_assert_cmpuint(co_alloc(q, 10), ==, first + CLUSTER + 10);
	g_assert_cmpuint(co_alloc(q, 10), ==, first + CLUSTER + 20);
	g_assert_cmpuint(co_alloc(q, CLUSTER - 1), ==, first + 2 * CLUSTER);
	g_assert_cmpuint(co_refcount(q, first + CLUSTER), ==, 3);
}

/* Nothing is packed into a freed cluster with its next user's data. */
ALLOC_TEST(test_leaves_a_freed_cluster, "16")
{
	uint64_t first = co_alloc(q, 1000);

	g_assert_cmpint(qcow2_co_put_bytes(q, first, 1000), ==, 0);
	g_assert_cmpuint(co_refcount(q, first), ==, 0);
	g_assert_cmpuint(co_alloc_cluster(q), ==, first);
	g_assert_cmpuint(co_alloc(q, 1000), ==, first + CLUSTER);
}

/* ... even if the last reference was a snapshot's. */
CO_TEST(test_leaves_a_deleted_snapshot)
{
	struct image *img = co_open_new("64k", "16");
	struct qcow2 *q = img->opaque;
	g_autofree uint8_t *buf = g_malloc0(CLUSTER);
	struct iovec iov;

	g_assert_cmpint(image_co_pwrite_compressed(img, 0, CLUSTER, IOBUF(&iov, buf, CLUSTER)), ==,
			0);
	g_assert_cmpint(image_co_snapshot_create(img, "s", NULL), ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, CLUSTER, buf, 0), ==, 0);
	g_assert_cmpint(image_co_snapshot_delete(img, "s", NULL), ==, 0);
	co_mutex_lock(&q->alloc_lock);
	g_assert_cmpuint(co_alloc(q, 100) % CLUSTER, ==, 0);
	co_mutex_unlock(&q->alloc_lock);
	image_co_close(img);
}

/* ---- a disk so large that a descriptor cannot reach its end ---- */

/* With clusters of 2 MiB a descriptor has 49 bits of offset. */
#define REACH (1ull << 49)
#define FAR   (REACH - (1ull << 30))
#define NEAR  (1ull << 30)

static uint64_t folded(uint64_t off)
{
	return off >= FAR ? off - FAR + NEAR : off;
}

static int far_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	const struct image *file = img->opaque;

	img->size = file->size;
	img->limits = file->limits;
	return 0;
}

static int far_co_close(struct image *img)
{
	return image_co_close(img->opaque);
}

static int far_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	return image_co_preadv(img->opaque, folded(off), bytes, mem);
}

static int far_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			  unsigned flags)
{
	return image_co_pwritev(img->opaque, folded(off), bytes, mem, flags);
}

static int far_co_flush(struct image *img)
{
	return image_co_flush(img->opaque);
}

/* The image whose allocator is used while a cluster is being punched. */
static struct qcow2 *asked;
static unsigned punched;

static int far_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	uint64_t host_off;

	if (!asked)
		return 0;
	co_mutex_lock(&asked->alloc_lock);
	host_off = co_alloc(asked, 100);
	co_mutex_unlock(&asked->alloc_lock);
	g_assert_true(host_off + 100 <= off || host_off >= off + bytes);
	punched++;
	return 0;
}

static const struct bottom_ops far_ops = {
	.io = {
		.name = "far",
		.grows = true,
		.co_close = far_co_close,
		.co_preadv = far_co_preadv,
		.co_pwritev = far_co_pwritev,
		.co_flush = far_co_flush,
		.co_pdiscard = far_co_pdiscard,
	},
	.co_open = far_co_open,
};

static struct image *co_open_far(const char *cluster_size)
{
	const unsigned flags = IMAGE_RDWR | IMAGE_UNMAP;
	struct image_open_opts opts = { .format = "qcow2", .flags = flags };
	g_autoptr(GError) err = NULL;
	struct image *file = NULL, *bottom = NULL, *img = NULL;

	g_assert_cmpint(image_co_close(co_open_new(cluster_size, "16")), ==, 0);
	image_co_open_bottom("disk", IMAGE_RDWR, &file, &err);
	g_assert_no_error(err);
	image_co_new_bottom(&far_ops, "far", flags, file, &bottom, &err);
	g_assert_no_error(err);
	image_co_open_on(bottom, &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

static void co_expect(struct image *img, uint64_t off, uint64_t bytes, uint8_t byte)
{
	g_autofree uint8_t *buf = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, buf), ==, 0);
	for (uint64_t i = 0; i < bytes; i++)
		g_assert_cmpuint(buf[i], ==, byte);
}

CO_TEST(test_far_away)
{
	const uint32_t bytes = 2 << 20;
	struct image *img = co_open_far("2M");
	struct qcow2 *q = img->opaque;
	g_autofree uint8_t *buf = g_malloc(bytes);
	struct image_extent extent;
	struct iovec iov;

	co_mutex_lock(&q->alloc_lock);
	q->free_hint = REACH / bytes - 3;
	co_mutex_unlock(&q->alloc_lock);
	for (unsigned i = 0; i < 4; i++) {
		memset(buf, 0x11 + i, bytes);
		/* The first allocation took the last cluster within reach. */
		if (i == 1) {
			co_mutex_lock(&q->alloc_lock);
			q->byte_tail = 0;
			q->free_hint = MAX(q->free_hint, REACH / bytes);
			co_mutex_unlock(&q->alloc_lock);
		}
		g_assert_cmpint(image_co_pwrite_compressed(img, (uint64_t)i * bytes, bytes,
							   IOBUF(&iov, buf, bytes)),
				==, 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		co_expect(img, (uint64_t)i * bytes, bytes, 0x11 + i);
		image_co_block_status(img, (uint64_t)i * bytes, bytes, &extent);
		g_assert_cmpint(!!(extent.flags & IMAGE_EXTENT_COMPRESSED), ==, i == 0);
	}
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* Nothing is allocated between the look at a freed cluster and its hole. */
CO_TEST(test_leaves_a_punched_cluster)
{
	struct image *img = co_open_far("64k");
	g_autofree uint8_t *buf = g_malloc0(CLUSTER);
	struct iovec iov;

	asked = img->opaque;
	punched = 0;
	g_assert_cmpint(image_co_pwrite_compressed(img, 0, CLUSTER, IOBUF(&iov, buf, CLUSTER)), ==,
			0);
	g_assert_cmpint(image_co_pwrite(img, 0, CLUSTER, buf, 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	/* It is punched after a flush, at the latest here. */
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(punched, ==, 1);
	asked = NULL;
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/qcow2/alloc-bytes/packs", test_packs);
	g_test_add_func("/qcow2/alloc-bytes/crosses-a-border", test_crosses_a_border);
	g_test_add_func("/qcow2/alloc-bytes/fills-a-cluster", test_fills_a_cluster);
	g_test_add_func("/qcow2/alloc-bytes/no-neighbour", test_no_neighbour);
	g_test_add_func("/qcow2/alloc-bytes/one-bit", test_one_bit);
	g_test_add_func("/qcow2/alloc-bytes/two-bits", test_two_bits);
	g_test_add_func("/qcow2/alloc-bytes/leaves-a-freed-cluster", test_leaves_a_freed_cluster);
	g_test_add_func("/qcow2/alloc-bytes/leaves-a-deleted-snapshot",
			test_leaves_a_deleted_snapshot);
	g_test_add_func("/qcow2/alloc-bytes/leaves-a-punched-cluster",
			test_leaves_a_punched_cluster);
	g_test_add_func("/qcow2/alloc-bytes/far-away", test_far_away);
	return leave_scratch(folder, g_test_run());
}
