// SPDX-License-Identifier: GPL-2.0-or-later
/* The pure parts of qcow2: numbers in refcount blocks, L2 entries, compressed descriptors. */
#include <string.h>

#include "qcow2/qcow2.h"

/* For every width: what is stored is read back, and its neighbours do not change. */
static void test_refcount_widths(void)
{
	for (unsigned order = 0; order <= QCOW2_MAX_REFCOUNT_ORDER; order++) {
		uint64_t max = order == 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
		uint64_t block[64];

		memset(block, 0, sizeof(block));
		for (uint64_t i = 0; i < 32; i++)
			qcow2_refcount_store(order, block, i, i & max);
		qcow2_refcount_store(order, block, 7, max);
		for (uint64_t i = 0; i < 32; i++)
			g_assert_cmpuint(qcow2_refcount_load(order, block, i), ==,
					 i == 7 ? max : (i & max));
	}
}

/* "bit 0 means the least significant bit"; wider than a byte is big-endian. */
static void test_refcount_bytes(void)
{
	uint8_t block[16] = { 0 };

	qcow2_refcount_store(0, block, 9, 1);
	g_assert_cmphex(block[1], ==, 0x02);
	memset(block, 0, sizeof(block));
	qcow2_refcount_store(2, block, 1, 0xa);
	g_assert_cmphex(block[0], ==, 0xa0);
	memset(block, 0, sizeof(block));
	qcow2_refcount_store(4, block, 1, 0x1234);
	g_assert_cmphex(block[2], ==, 0x12);
	g_assert_cmphex(block[3], ==, 0x34);
}

static void test_entry_types(void)
{
	static const struct {
		uint32_t version;
		uint64_t entry;
		int ret;
		enum mapping_type type;
	} cases[] = {
		{ 3, 0, 0, MAPPING_UNALLOCATED },
		{ 3, 1, 0, MAPPING_ZERO },
		{ 3, 0x50001, 0, MAPPING_ZERO_ALLOCATED },
		{ 3, 0x50000 | QCOW2_COPIED, 0, MAPPING_NORMAL },
		{ 3, 0x50000, 0, MAPPING_NORMAL },
		{ 3, QCOW2_COMPRESSED | 0x12345, 0, MAPPING_COMPRESSED },
		/* Not a multiple of the cluster size; reserved bits; offset 0 in use. */
		{ 3, 0x50200 | QCOW2_COPIED, -EIO, 0 },
		{ 3, 0x50002, -EIO, 0 },
		{ 3, 0x50000 | 1ull << 57, -EIO, 0 },
		{ 3, QCOW2_COPIED, -EIO, 0 },
		/* Version 2 has no zero flag. */
		{ 2, 1, -EIO, 0 },
		{ 2, 0x50000 | QCOW2_COPIED, 0, MAPPING_NORMAL },
	};
	g_autofree struct qcow2 *q = g_new0(struct qcow2, 1);

	q->cluster_bits = 16;
	q->cluster_size = 1 << 16;
	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		enum mapping_type type;

		q->version = cases[i].version;
		g_assert_cmpint(
			qcow2_entry_type(q, (struct l2_entry){ cases[i].entry, 0 }, 0, &type), ==,
			cases[i].ret);
		if (!cases[i].ret)
			g_assert_cmpint(type, ==, cases[i].type);
	}
}

/* With 64 KiB clusters x is 54: 54 bits of offset, then the additional sectors. */
static void test_compressed_range(void)
{
	g_autofree struct qcow2 *q = g_new0(struct qcow2, 1);
	uint64_t host_off;
	uint32_t bytes;

	q->cluster_bits = 16;
	qcow2_compressed_range(q, QCOW2_COMPRESSED | 3ull << 54 | 0x50123, &host_off, &bytes);
	g_assert_cmphex(host_off, ==, 0x50123);
	g_assert_cmpuint(bytes, ==, 4 * 512 - 0x123);
	q->cluster_bits = 21;
	qcow2_compressed_range(q, QCOW2_COMPRESSED | 1ull << 49 | 0x200, &host_off, &bytes);
	g_assert_cmphex(host_off, ==, 0x200);
	g_assert_cmpuint(bytes, ==, 1024);
}

/* The reader understands what the writer makes, also at the limits of the format. */
static void test_compressed_entry(void)
{
	static const struct {
		unsigned cluster_bits;
		uint64_t host_off;
		uint32_t bytes;
		bool fits;
		uint32_t readable;
	} cases[] = {
		{ 16, 0x50000, 1, true, 512 },
		{ 16, 0x50123, 512 - 0x123, true, 512 - 0x123 },
		{ 16, 0x50123, 512 - 0x123 + 1, true, 1024 - 0x123 },
		/* The maximum number of sectors. */
		{ 9, 0x1ff, 511, true, 513 },
		{ 16, 0x501ff, 65535, true, 65537 },
		{ 21, 0x501ff, (2 << 20) - 1, true, (2 << 20) + 1 },
		/* 49 bits of offset, and no more than 56 even if there is room for them. */
		{ 21, (1ull << 49) - 512, 512, true, 512 },
		{ 21, (1ull << 49) - 511, 512, false, 0 },
		{ 21, 1ull << 49, 1, false, 0 },
		{ 16, (1ull << 54) - 1, 1, true, 1 },
		{ 16, (1ull << 54) - 1, 2, false, 0 },
		{ 9, (1ull << 56) - 2, 2, true, 2 },
		{ 9, (1ull << 56) - 1, 2, false, 0 },
	};
	g_autofree struct qcow2 *q = g_new0(struct qcow2, 1);

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint64_t entry = 0, host_off;
		uint32_t bytes;

		q->cluster_bits = cases[i].cluster_bits;
		g_assert_cmpint(
			qcow2_compressed_entry(q, cases[i].host_off, cases[i].bytes, &entry), ==,
			cases[i].fits);
		if (!cases[i].fits)
			continue;
		g_assert_cmphex(entry >> 62, ==, 1);
		qcow2_compressed_range(q, entry, &host_off, &bytes);
		g_assert_cmphex(host_off, ==, cases[i].host_off);
		g_assert_cmpuint(bytes, ==, cases[i].readable);
	}
}

/* Whatever zeroes are skipped at once, each entry is found once, and none behind the end. */
static void test_next_entry(void)
{
	static const uint32_t used[] = { 0, 1, 511, 512, 513, 1023, 1536, 2050, 3000 };
	const uint32_t nr = used[G_N_ELEMENTS(used) - 1];
	g_autofree uint64_t *table = g_new0(uint64_t, nr + 1);
	uint32_t index = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(used); i++)
		table[used[i]] = i % 2 ? 1 : 1ull << 63;
	for (size_t i = 0; i < G_N_ELEMENTS(used); i++) {
		index = qcow2_next_entry(table, index, nr);
		g_assert_cmpuint(index, ==, used[i]);
		index++;
	}
	g_assert_cmpuint(qcow2_next_entry(table, 2051, 2051), ==, 2051);
	g_assert_cmpuint(qcow2_next_entry(table, 0, 0), ==, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/qcow2/refcount-widths", test_refcount_widths);
	g_test_add_func("/qcow2/refcount-bytes", test_refcount_bytes);
	g_test_add_func("/qcow2/entry-types", test_entry_types);
	g_test_add_func("/qcow2/compressed-range", test_compressed_range);
	g_test_add_func("/qcow2/compressed-entry", test_compressed_entry);
	g_test_add_func("/qcow2/next-entry", test_next_entry);
	return g_test_run();
}
