// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The proof that an image is clean, or has only plain leaks, agrees with the full check, whatever
 * is wrong with the tables: images with a few random mistakes are checked, and repaired, with it
 * and without. A full check in many small windows agrees with both.
 */
#include <endian.h>

#include "image-test.h"
#include "qcow2/check.h"

#define KIB	     1024ull
#define DISK_BYTES   (2048 * KIB)
#define OFFSET_MASK  0x00fffffffffffe00ull
#define NR_MUTATIONS 200

/* 64 clusters in bytes, 16 in words. */
#define SMALL_WINDOW 64

bool __real_qcow2_check_co_is_nearly_clean(struct check *c);
bool __wrap_qcow2_check_co_is_nearly_clean(struct check *c);

enum way { WITH_PROOF, IN_FULL, IN_SMALL_WINDOWS };

static enum way way;
static unsigned proven;

bool __wrap_qcow2_check_co_is_nearly_clean(struct check *c)
{
	bool clean = way == WITH_PROOF && __real_qcow2_check_co_is_nearly_clean(c);

	if (way == IN_SMALL_WINDOWS)
		c->counts.limit = SMALL_WINDOW;
	proven += clean;
	return clean;
}

/* ---- images ---- */

struct layout {
	const char *path;
	const char *option, *value;
	bool compressed, snapshot;
};

static const struct layout layouts[] = {
	{ .path = "/qcow2/check-clean/plain" },
	{ .path = "/qcow2/check-clean/snapshot", .snapshot = true },
	{ .path = "/qcow2/check-clean/compressed", .compressed = true },
	{ .path = "/qcow2/check-clean/refcount-bits-1", .option = "refcount_bits", .value = "1" },
	{ .path = "/qcow2/check-clean/refcount-bits-64",
	  .option = "refcount_bits",
	  .value = "64",
	  .snapshot = true },
	{ .path = "/qcow2/check-clean/subclusters", .option = "extended_l2", .value = "on" },
	{ .path = "/qcow2/check-clean/preallocated",
	  .option = "preallocation",
	  .value = "metadata" },
};

static void co_create(const struct layout *layout)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = {
		.size = DISK_BYTES,
		.size_given = true,
		.options = options,
	};
	bool large = g_strcmp0(layout->option, "extended_l2") == 0;
	g_autoptr(GError) err = NULL;

	g_hash_table_insert(options, (char *)"cluster_size", (char *)(large ? "16384" : "4096"));
	if (layout->option)
		g_hash_table_insert(options, (char *)layout->option, (char *)layout->value);
	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

static void co_fill(const struct layout *layout)
{
	struct image *img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	g_autofree char *buf = g_malloc0(64 * KIB);
	struct iovec iov;
	g_autoptr(GError) err = NULL;

	memset(buf, 1, 10 * KIB);
	for (uint64_t off = 0; off < 1024 * KIB && !layout->compressed; off += 128 * KIB)
		g_assert_cmpint(image_co_pwrite(img, off, 64 * KIB, buf, 0), ==, 0);
	for (uint64_t off = 0; off < 1024 * KIB && layout->compressed; off += 128 * KIB)
		g_assert_cmpint(
			image_co_pwrite_compressed(img, off, 64 * KIB, IOBUF(&iov, buf, 64 * KIB)),
			==, 0);
	if (layout->snapshot) {
		image_co_snapshot_create(img, "old", &err);
		g_assert_no_error(err);
		g_assert_cmpint(image_co_pwrite(img, 0, 64 * KIB, buf, 0), ==, 0);
	}
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* ---- mistakes ---- */

static uint64_t be64_at(const char *file, uint64_t off)
{
	uint64_t value;

	memcpy(&value, file + off, sizeof(value));
	return be64toh(value);
}

static void add_words(GArray *words, uint64_t off, uint64_t bytes)
{
	for (uint64_t end = off + bytes; off < end; off += 8)
		g_array_append_val(words, off);
}

/* The words that say something in an image of one L1 cluster and one refcount block. */
static GArray *find_words(const char *file)
{
	GArray *words = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	uint64_t cluster = 1ull << be32toh(*(const uint32_t *)(file + 20));
	uint64_t l1_off = be64_at(file, 40), reftable_off = be64_at(file, 48);
	uint64_t l1_size = be32toh(*(const uint32_t *)(file + 36));

	add_words(words, l1_off, l1_size * 8);
	add_words(words, be64_at(file, reftable_off), MIN(cluster, 256));
	for (uint64_t i = 0; i < l1_size; i++) {
		uint64_t l2_off = be64_at(file, l1_off + i * 8) & OFFSET_MASK;

		if (l2_off)
			add_words(words, l2_off, MIN(cluster, 2048));
	}
	return words;
}

static uint64_t random_word(GRand *rand, GArray *words)
{
	return g_array_index(words, uint64_t, g_rand_int_range(rand, 0, words->len));
}

static void flip_bit(GRand *rand, GArray *words, char *file)
{
	file[random_word(rand, words) + g_rand_int_range(rand, 0, 8)] ^=
		1 << g_rand_int_range(rand, 0, 8);
}

static void move_word(GRand *rand, GArray *words, char *file)
{
	memcpy(file + random_word(rand, words), file + random_word(rand, words), 8);
}

/* So that sums of all refcounts stay. */
static void swap_pieces(GRand *rand, GArray *words, char *file)
{
	unsigned bytes = 1 << g_rand_int_range(rand, 0, 4);
	char *a = file + random_word(rand, words), *b = file + random_word(rand, words), kept[8];

	memcpy(kept, a, bytes);
	memmove(a, b, bytes);
	memcpy(b, kept, bytes);
}

/* Data that is not named any more is leaked. */
static void clear_word(GRand *rand, GArray *words, char *file)
{
	memset(file + random_word(rand, words), 0, 8);
}

static void mutate(GRand *rand, GArray *words, char *file)
{
	for (int i = g_rand_int_range(rand, 0, 3); i > 0; i--) {
		switch (g_rand_int_range(rand, 0, 4)) {
		case 0:
			flip_bit(rand, words, file);
			break;
		case 1:
			clear_word(rand, words, file);
			break;
		case 2:
			move_word(rand, words, file);
			break;
		default:
			swap_pieces(rand, words, file);
			break;
		}
	}
}

/* ---- checks ---- */

struct verdict {
	int ret;
	GPtrArray *lines; /* sorted: small windows report in another order */
	struct image_check_result result;
};

typedef struct verdict Verdict;

static void verdict_free(Verdict *verdict)
{
	g_ptr_array_unref(verdict->lines);
	g_free(verdict);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Verdict, verdict_free)

static void add_line(void *arg, const char *line)
{
	g_ptr_array_add(arg, g_strdup(line));
}

static gint compare_lines(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct verdict *co_check(enum way new_way, unsigned fix)
{
	struct verdict *verdict = g_new0(struct verdict, 1);
	struct image_open_opts opts = { .format = "qcow2",
					.flags = IMAGE_FOR_CHECK | (fix ? IMAGE_FOR_REPAIR : 0) };
	struct image_check_opts check = { .fix = fix, .report = add_line };
	struct image *img = NULL;

	verdict->lines = g_ptr_array_new_with_free_func(g_free);
	check.report_arg = verdict->lines;
	verdict->ret = image_co_open("mutant", &opts, &img, NULL);
	if (verdict->ret)
		return verdict;
	way = new_way;
	verdict->ret = image_co_repair(img, &check, &verdict->result);
	image_co_close(img);
	g_ptr_array_sort(verdict->lines, compare_lines);
	return verdict;
}

static void assert_same(const struct verdict *a, const struct verdict *b)
{
	g_assert_cmpint(a->ret, ==, b->ret);
	g_assert_cmpmem(&a->result, sizeof(a->result), &b->result, sizeof(b->result));
	g_assert_cmpuint(a->lines->len, ==, b->lines->len);
	for (guint i = 0; i < a->lines->len; i++)
		g_assert_cmpstr(g_ptr_array_index(a->lines, i), ==, g_ptr_array_index(b->lines, i));
}

static struct verdict *co_check_all_ways(const char *file, gsize bytes)
{
	struct verdict *full;

	write_file("mutant", file, bytes);
	full = co_check(IN_FULL, 0);
	for (enum way other = WITH_PROOF; other <= IN_SMALL_WINDOWS; other++) {
		g_autoptr(Verdict) verdict = co_check(other, 0);

		assert_same(verdict, full);
	}
	return full;
}

/* A repair is the same with the proof as without. */
static void co_repair_both_ways(const char *file, gsize bytes, unsigned fix)
{
	g_autofree char *after_full = NULL, *after_proof = NULL;
	g_autoptr(Verdict) full = NULL, fast = NULL;
	gsize full_bytes, proof_bytes;

	write_file("mutant", file, bytes);
	full = co_check(IN_FULL, fix);
	g_assert_true(g_file_get_contents("mutant", &after_full, &full_bytes, NULL));
	write_file("mutant", file, bytes);
	fast = co_check(WITH_PROOF, fix);
	g_assert_true(g_file_get_contents("mutant", &after_proof, &proof_bytes, NULL));
	assert_same(full, fast);
	g_assert_cmpmem(after_full, full_bytes, after_proof, proof_bytes);
}

static bool is_plain_leak(const struct verdict *verdict)
{
	for (guint i = 0; i < verdict->lines->len; i++)
		if (!g_str_has_prefix(g_ptr_array_index(verdict->lines, i), "Leaked cluster ") ||
		    !g_str_has_suffix(g_ptr_array_index(verdict->lines, i),
				      " refcount=1 reference=0"))
			return false;
	return verdict->lines->len;
}

static void test_layout_co(void *arg)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(1);
	g_autofree char *file = NULL;
	g_autoptr(GArray) words = NULL;
	unsigned clean = 0, leaky = 0;
	gsize bytes;

	co_create(arg);
	co_fill(arg);
	g_assert_true(g_file_get_contents("disk", &file, &bytes, NULL));
	words = find_words(file);
	proven = 0;
	for (unsigned i = 0; i < NR_MUTATIONS; i++) {
		g_autofree char *mutant = g_memdup2(file, bytes);
		g_autoptr(Verdict) verdict = NULL;
		bool is_leak;

		mutate(rand, words, mutant);
		verdict = co_check_all_ways(mutant, bytes);
		clean += !verdict->ret && !verdict->lines->len;
		is_leak = !verdict->ret && is_plain_leak(verdict);
		leaky += is_leak;
		g_assert_cmpuint(clean + leaky, ==, proven);
		if (!is_leak && i % 8)
			continue;
		co_repair_both_ways(mutant, bytes, IMAGE_CHECK_FIX_LEAKS);
		co_repair_both_ways(mutant, bytes, IMAGE_CHECK_FIX_LEAKS | IMAGE_CHECK_FIX_ERRORS);
		proven = clean + leaky;
	}
	g_assert_cmpuint(clean, >, NR_MUTATIONS / 10);
	g_assert_cmpuint(clean, <, NR_MUTATIONS * 9 / 10);
	if (arg == &layouts[0])
		g_assert_cmpuint(leaky, >, NR_MUTATIONS / 20);
}

static void test_layout(gconstpointer layout)
{
	run_co(test_layout_co, (void *)layout);
}

/* The refcounts are right, but a block of them may not be shared. */
CO_TEST(test_shared_block)
{
	g_autoptr(Verdict) verdict = NULL;
	g_autofree char *file = NULL;
	uint64_t l2_off, reftable_off, block_off, entry;
	gsize bytes;

	co_create(&layouts[0]);
	co_fill(&layouts[0]);
	g_assert_true(g_file_get_contents("disk", &file, &bytes, NULL));
	l2_off = be64_at(file, be64_at(file, 40)) & OFFSET_MASK;
	reftable_off = be64_at(file, 48);
	block_off = be64_at(file, reftable_off);
	/* Guest cluster 16 is not allocated. */
	g_assert_cmpuint(be64_at(file, l2_off + 16 * 8), ==, 0);
	entry = htobe64(block_off);
	memcpy(file + l2_off + 16 * 8, &entry, sizeof(entry));
	file[block_off + block_off / 4096 * 2 + 1] = 2;
	verdict = co_check_all_ways(file, bytes);
	g_assert_cmpuint(verdict->result.corruptions, >, 0);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	for (unsigned i = 0; i < G_N_ELEMENTS(layouts); i++)
		g_test_add_data_func(layouts[i].path, &layouts[i], test_layout);
	g_test_add_func("/qcow2/check-clean/shared-block", test_shared_block);
	return leave_scratch(folder, g_test_run());
}
