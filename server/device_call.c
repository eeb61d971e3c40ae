// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands to the driver that may take long, while the main loop goes on. */
#include "device_parts.h"

struct call {
	struct transport *transport;
	int (*fn)(struct transport *transport); /* NULL: resize */
	uint64_t sectors;
	bool made;
};

static int run_call(void *arg)
{
	struct call *call = arg;

	call->made = true;
	return call->fn ? call->fn(call->transport)
			: transport_resize(call->transport, call->sectors);
}

static int co_call(struct device *device, const char *name, struct call *call)
{
	g_autoptr(GError) err = NULL;
	int res;

	call->transport = device->transport->ops->clone(device->transport, &err);
	if (!call->transport)
		return -err->code;
	res = co_run_on_thread(name, run_call, call);
	transport_free(call->transport);
	return res;
}

int device_co_call(struct device *device, const char *name, int (*fn)(struct transport *transport))
{
	struct call call = { .fn = fn };

	return co_call(device, name, &call);
}

/*
 * The other commands fail for a lack of descriptors or threads. Without these, what the device's
 * users have not written yet would be lost, or the device would stay; so then the main loop waits.
 */
static int co_call_surely(struct device *device, const char *name,
			  int (*fn)(struct transport *transport))
{
	struct call call = { .fn = fn };
	int res = co_call(device, name, &call);

	if (call.made)
		return res;
	call.transport = device->transport;
	return run_call(&call);
}

int device_co_stop_disk(struct device *device)
{
	return co_call_surely(device, "ubd-stop", device->transport->ops->stop);
}

int device_co_delete(struct device *device)
{
	return co_call_surely(device, "ubd-delete", device->transport->ops->delete);
}

int device_co_resize(struct device *device, uint64_t sectors)
{
	struct call call = { .sectors = sectors };

	return co_call(device, "ubd-resize", &call);
}
