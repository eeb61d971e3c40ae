// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands to the driver that may take long, while the main loop goes on. */
#include "device_parts.h"

struct call {
	struct transport *transport;
	int (*fn)(struct transport *transport); /* NULL: resize */
	uint64_t sectors;
};

static int run_call(void *arg)
{
	const struct call *call = arg;

	return call->fn ? call->fn(call->transport)
			: call->transport->ops->resize(call->transport, call->sectors);
}

static int co_call(struct device *device, const char *name, struct call *call)
{
	int res;

	call->transport = device->transport->ops->clone(device->transport, NULL);
	/* Without another handle, the call keeps the main loop waiting, but it is made. */
	if (!call->transport) {
		call->transport = device->transport;
		return run_call(call);
	}
	res = co_run_on_thread(name, run_call, call);
	transport_free(call->transport);
	return res;
}

int device_co_call(struct device *device, const char *name, int (*fn)(struct transport *transport))
{
	struct call call = { .fn = fn };

	return co_call(device, name, &call);
}

int device_co_resize(struct device *device, uint64_t sectors)
{
	struct call call = { .sectors = sectors };

	return co_call(device, "ubd-resize", &call);
}
