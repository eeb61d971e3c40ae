// SPDX-License-Identifier: GPL-2.0-or-later
/* The commands by which requests are fetched from ublk, and its descriptors, byte by byte. */
#include <glib.h>
#include <string.h>

#include "fetch_wire.h"
#include "transport_queues.h"

/* As other programs have these numbers: _IOWR('u', nr, 16 bytes). */
#define FETCH		 0xc0107520u
#define COMMIT_AND_FETCH 0xc0107521u
#define PREP_BATCH	 0xc0107525u
#define COMMIT_BATCH	 0xc0107526u
#define FETCH_BATCH	 0xc0107527u

#define Q_ID		 3
#define TAG		 5

static const struct fetch_wire *wire_of(enum data_way way)
{
	return transport_queues_ublk.wires[way];
}

static void assert_bytes(const void *found, const char *wanted_hex)
{
	GString *hex = g_string_new(NULL);

	for (size_t i = 0; i < strlen(wanted_hex) / 2; i++)
		g_string_append_printf(hex, "%02x", ((const uint8_t *)found)[i]);
	g_assert_cmpstr(hex->str, ==, wanted_hex);
	g_string_free(hex, TRUE);
}

static void test_single_tags(void)
{
	struct io_uring_sqe sqe = { 0 };

	wire_of(DATA_COPY)->prep_first(&sqe, Q_ID, TAG, 0x1122334455667788);
	g_assert_cmphex(sqe.cmd_op, ==, FETCH);
	assert_bytes(sqe.cmd, "03000500000000008877665544332211");
	wire_of(DATA_COPY)->prep_answer(&sqe, Q_ID, TAG, -5, 0x10);
	g_assert_cmphex(sqe.cmd_op, ==, COMMIT_AND_FETCH);
	assert_bytes(sqe.cmd, "03000500fbffffff1000000000000000");
	g_assert_cmphex(sqe.addr, ==, 0);
}

/* The index is beside the command, with the flag that a request without a buffer comes, too. */
static void test_single_tags_with_registered_buffers(void)
{
	struct io_uring_sqe sqe = { 0 };

	wire_of(DATA_ZERO_COPY)->prep_first(&sqe, Q_ID, TAG, 7);
	g_assert_cmphex(sqe.cmd_op, ==, FETCH);
	g_assert_cmphex(sqe.addr, ==, 0x10007);
	assert_bytes(sqe.cmd, "03000500000000000000000000000000");
	memset(&sqe, 0, sizeof(sqe));
	wire_of(DATA_ZERO_COPY)->prep_answer(&sqe, Q_ID, TAG, 512, 7);
	g_assert_cmphex(sqe.addr, ==, 0x10007);
	assert_bytes(sqe.cmd, "03000500000200000000000000000000");
}

static void prepare(struct fetch_entry *entries)
{
	entries[0] = (struct fetch_entry){ .tag = 1, .result = 512, .addr = 0x42 };
	entries[1] = (struct fetch_entry){ .tag = 2, .result = -1, .addr = 0x43 };
}

static void test_batches(void)
{
	static const struct {
		enum data_way way;
		const char *cmd, *entries;
	} cases[] = {
		{ DATA_COPY, "03000200020010000000000000000000",
		  "01000000000200004200000000000000"
		  "02000000ffffffff4300000000000000" },
		{ DATA_USER_COPY, "03000000020008000000000000000000", NULL },
		{ DATA_ZERO_COPY, "03000400020008000000000000000000",
		  "0100420000020000"
		  "02004300ffffffff" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct fetch_wire *wire = wire_of(cases[i].way);
		struct io_uring_sqe sqe = { 0 };
		struct fetch_entry entries[2];

		prepare(entries);
		wire->prep_answers(&sqe, Q_ID, entries, 2);
		g_assert_cmphex(sqe.cmd_op, ==, COMMIT_BATCH);
		g_assert_cmphex(sqe.addr, ==, (uintptr_t)entries);
		assert_bytes(sqe.cmd, cases[i].cmd);
		if (cases[i].entries)
			assert_bytes(entries, cases[i].entries);
		g_assert_cmpuint(wire->answer_bytes, ==, cases[i].way == DATA_COPY ? 16 : 8);
		prepare(entries);
		wire->prep_first_batch(&sqe, Q_ID, entries, 2);
		g_assert_cmphex(sqe.cmd_op, ==, PREP_BATCH);
		assert_bytes(sqe.cmd, cases[i].cmd);
		wire->prep_announce(&sqe, Q_ID);
		g_assert_cmphex(sqe.cmd_op, ==, FETCH_BATCH);
		assert_bytes(sqe.cmd, "03000000000002000000000000000000");
	}
}

static void test_requests(void)
{
	/* op_flags, nr_sectors, start_sector, addr */
	const uint32_t write[6] = { 1 | 1u << 13, 8, 16, 0, 0, 0 };
	const uint32_t zeroes[6] = { 5 | 1u << 15, 8, 16, 0, 0, 0 };
	const uint32_t no_buffer[6] = { 0 | 1u << 17, 8, 16, 0, 0, 0 };
	const uint32_t zone[6] = { 13, 8, 16, 0, 0, 0 };
	struct request_desc desc;

	wire_of(DATA_COPY)->describe(write, &desc);
	g_assert_cmpint(desc.op, ==, REQUEST_WRITE);
	g_assert_true(desc.fua && !desc.registered);
	g_assert_cmpuint(desc.guest_off, ==, 8192);
	g_assert_cmpuint(desc.bytes, ==, 4096);
	wire_of(DATA_COPY)->describe(zeroes, &desc);
	g_assert_cmpint(desc.op, ==, REQUEST_WRITE_ZEROES);
	g_assert_true(!desc.may_unmap && !desc.fua);
	wire_of(DATA_COPY)->describe(zone, &desc);
	g_assert_cmpint(desc.op, ==, REQUEST_UNKNOWN);
	wire_of(DATA_ZERO_COPY)->describe(write, &desc);
	g_assert_true(desc.registered);
	wire_of(DATA_ZERO_COPY)->describe(no_buffer, &desc);
	g_assert_true(desc.op == REQUEST_READ && !desc.registered);
}

static void test_data_is_where_the_driver_has_it(void)
{
	g_assert_cmphex(transport_queues_ublk.data_off(0, 0), ==, 0x80000000);
	g_assert_cmphex(transport_queues_ublk.data_off(1, 1), ==, 0x20082000000);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/transport-ublk/single-tags", test_single_tags);
	g_test_add_func("/transport-ublk/single-tags-with-registered-buffers",
			test_single_tags_with_registered_buffers);
	g_test_add_func("/transport-ublk/batches", test_batches);
	g_test_add_func("/transport-ublk/requests", test_requests);
	g_test_add_func("/transport-ublk/data-is-where-the-driver-has-it",
			test_data_is_where_the_driver_has_it);
	return g_test_run();
}
