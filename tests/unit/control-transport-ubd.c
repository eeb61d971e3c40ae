// SPDX-License-Identifier: GPL-2.0-or-later
/* The server's types as they go over ubd's wire, and back. The driver is simulated here. */
#include <errno.h>
#include <glib.h>
#include <linux/ubd_cmd.h>
#include <string.h>

#include "control.h"
#include "transport.h"

/* ---- the driver ---- */

static struct ubdsrv_ctrl_dev_info wire_info;
static struct ubd_params wire_params;
static struct ubd_identity wire_identity;
static struct control *const handle = (struct control *)&wire_info;
static int closed;

struct control *__wrap_control_add_dev(struct ubdsrv_ctrl_dev_info *info, GError **err);
struct control *__wrap_control_open_dev(uint32_t id, struct ubdsrv_ctrl_dev_info *ret_info,
					GError **err);
int __wrap_control_set_params(struct control *control, const struct ubd_params *params);
int __wrap_control_get_params(struct control *control, struct ubd_params *ret_params);
int __wrap_control_set_identity(struct control *control, const struct ubd_identity *identity);
int __wrap_control_get_identity(struct control *control, struct ubd_identity *ret_identity);
void __wrap_control_free(struct control *control);

struct control *__wrap_control_add_dev(struct ubdsrv_ctrl_dev_info *info, GError **err)
{
	wire_info = *info;
	info->dev_id = 12;
	info->nr_hw_queues = 1;
	return handle;
}

struct control *__wrap_control_open_dev(uint32_t id, struct ubdsrv_ctrl_dev_info *ret_info,
					GError **err)
{
	*ret_info = wire_info;
	ret_info->dev_id = id;
	return handle;
}

int __wrap_control_set_params(struct control *control, const struct ubd_params *params)
{
	g_assert_true(control == handle);
	wire_params = *params;
	return 0;
}

int __wrap_control_get_params(struct control *control, struct ubd_params *ret_params)
{
	*ret_params = wire_params;
	return 0;
}

int __wrap_control_set_identity(struct control *control, const struct ubd_identity *identity)
{
	wire_identity = *identity;
	return 0;
}

int __wrap_control_get_identity(struct control *control, struct ubd_identity *ret_identity)
{
	*ret_identity = wire_identity;
	return 0;
}

void __wrap_control_free(struct control *control)
{
	g_assert_true(control == handle);
	closed++;
}

/* ---- devices ---- */

static struct transport_info wish(void)
{
	return (struct transport_info){
		.id = TRANSPORT_ANY_ID,
		.queues = 4,
		.depth = 64,
		.max_io_bytes = 1 << 20,
		.data = DATA_COPY,
	};
}

static void test_flags_of_a_new_device(void)
{
	static const struct {
		enum data_way data;
		enum recovery recovery;
		bool batches, no_partition_scan;
		uint64_t flags;
	} all[] = {
		{ DATA_COPY, RECOVERY_NONE, false, false, 0 },
		{ DATA_USER_COPY, RECOVERY_FAIL, false, false,
		  UBD_F_USER_COPY | UBD_F_USER_RECOVERY },
		{ DATA_ZERO_COPY, RECOVERY_REISSUE, true, false,
		  UBD_F_USER_COPY | UBD_F_ZERO_COPY | UBD_F_BATCH | UBD_F_USER_RECOVERY |
			  UBD_F_USER_RECOVERY_REISSUE },
		{ DATA_COPY, RECOVERY_FAIL_IO, false, true,
		  UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_FAIL_IO | UBD_F_NO_AUTO_PART_SCAN },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
		struct transport_info info = wish();
		struct transport *transport;

		info.data = all[i].data;
		info.recovery = all[i].recovery;
		info.batches = all[i].batches;
		info.no_partition_scan = all[i].no_partition_scan;
		transport = transport_ubd.add(&info, NULL, NULL);
		g_assert_cmphex(wire_info.flags, ==, all[i].flags);
		g_assert_cmpuint(wire_info.dev_id, ==, UBD_DEV_ID_ANY);
		g_assert_cmpuint(wire_info.nr_hw_queues, ==, 4);
		g_assert_cmpuint(wire_info.queue_depth, ==, 64);
		/* What was granted, and otherwise what was asked for. */
		g_assert_cmpstr(transport->path, ==, "/dev/ubdb12");
		g_assert_cmpuint(info.id, ==, 12);
		g_assert_cmpuint(info.queues, ==, 1);
		g_assert_cmpint(info.data, ==, all[i].data);
		g_assert_cmpint(info.recovery, ==, all[i].recovery);
		g_assert_cmpint(info.batches, ==, all[i].batches);
		g_assert_cmpint(info.no_partition_scan, ==, all[i].no_partition_scan);
		closed = 0;
		transport_free(transport);
		g_assert_cmpint(closed, ==, 1);
	}
}

static void test_what_is_told_of_a_device(void)
{
	static const struct {
		uint16_t wire;
		enum transport_state state;
	} states[] = {
		{ UBD_S_DEV_ADDED, TRANSPORT_ADDED },
		{ UBD_S_DEV_LIVE, TRANSPORT_LIVE },
		{ UBD_S_DEV_STOPPED, TRANSPORT_STOPPED },
		{ UBD_S_DEV_QUIESCED, TRANSPORT_QUIESCED },
		{ UBD_S_DEV_RECOVERING, TRANSPORT_RECOVERING },
	};
	struct transport_info info;

	for (unsigned i = 0; i < G_N_ELEMENTS(states); i++) {
		wire_info = (struct ubdsrv_ctrl_dev_info){
			.state = states[i].wire,
			.ubdsrv_pid = -1,
			.left_ns = 77,
			.recovery_timeout = 600,
		};
		transport_free(transport_ubd.open(3, &info, NULL));
		g_assert_cmpuint(info.id, ==, 3);
		g_assert_cmpint(info.state, ==, states[i].state);
		g_assert_false(info.unprivileged || info.lost || info.stopping);
		g_assert_cmpint(info.server_pid, ==, -1);
		g_assert_cmpint(info.left_ns, ==, 77);
		g_assert_cmpuint(info.recovery_timeout, ==, 600);
	}
	wire_info.flags = UBD_F_UNPRIVILEGED | UBD_F_LOST | UBD_F_STOPPING;
	transport_free(transport_ubd.open(3, &info, NULL));
	g_assert_true(info.unprivileged && info.lost && info.stopping);
}

/* ---- parameters and names ---- */

static struct transport *open_any(void)
{
	struct transport_info info;

	return transport_ubd.open(0, &info, NULL);
}

static void test_parameters_come_back(void)
{
	const struct device_params params = {
		.volatile_cache = true,
		.fua = true,
		.logical_block_size = 512,
		.physical_block_size = 4096,
		.io_min = 1024,
		.io_opt = 65536,
		.max_io_sectors = 256,
		.discard_granularity = 8192,
		.max_discard_sectors = 100,
		.max_write_zeroes_sectors = 200,
		.request_timeout = TRANSPORT_NO_TIMEOUT,
		.dev_sectors = 1ull << 40,
	};
	struct transport *transport = open_any();
	struct device_params back;

	g_assert_cmpint(transport_ubd.set_params(transport, &params), ==, 0);
	g_assert_cmphex(wire_params.attrs, ==, UBD_ATTR_VOLATILE_CACHE | UBD_ATTR_FUA);
	g_assert_cmpuint(wire_params.request_timeout, ==, UBD_NO_REQUEST_TIMEOUT);
	g_assert_cmpint(transport_ubd.get_params(transport, &back), ==, 0);
	g_assert_cmpmem(&back, sizeof(back), &params, sizeof(params));
	wire_params.attrs = UBD_ATTR_READ_ONLY;
	g_assert_cmpint(transport_ubd.get_params(transport, &back), ==, 0);
	g_assert_true(back.read_only && !back.volatile_cache && !back.fua && !back.has_others);
	transport_free(transport);
}

/* A device that another program created is not taken for one of ours. */
static void test_limits_of_other_programs_are_noted(void)
{
	struct transport *transport = open_any();
	struct device_params params;

	wire_params = (struct ubd_params){ .max_segments = 64 };
	g_assert_cmpint(transport_ubd.get_params(transport, &params), ==, 0);
	g_assert_true(params.has_others);
	wire_params = (struct ubd_params){ .attrs = UBD_ATTR_STABLE_WRITES };
	g_assert_cmpint(transport_ubd.get_params(transport, &params), ==, 0);
	g_assert_true(params.has_others);
	transport_free(transport);
}

static void test_names_come_back(void)
{
	struct identity identity = { "serial", { 1, 2, 3 }, 44, 55 }, back;
	struct transport *transport = open_any();

	memset(identity.serial, 's', sizeof(identity.serial) - 1);
	g_assert_cmpint(transport_ubd.set_identity(transport, &identity), ==, 0);
	g_assert_cmpuint(strlen(wire_identity.serial), ==, UBD_SERIAL_SIZE - 1);
	g_assert_cmpuint(wire_identity.image_dev, ==, 44);
	g_assert_cmpint(transport_ubd.get_identity(transport, &back), ==, 0);
	g_assert_cmpmem(&back, sizeof(back), &identity, sizeof(identity));
	transport_free(transport);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/transport-ubd/flags-of-a-new-device", test_flags_of_a_new_device);
	g_test_add_func("/transport-ubd/what-is-told-of-a-device", test_what_is_told_of_a_device);
	g_test_add_func("/transport-ubd/parameters-come-back", test_parameters_come_back);
	g_test_add_func("/transport-ubd/limits-of-other-programs-are-noted",
			test_limits_of_other_programs_are_noted);
	g_test_add_func("/transport-ubd/names-come-back", test_names_come_back);
	return g_test_run();
}
