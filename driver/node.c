// SPDX-License-Identifier: GPL-2.0-only
/*
 * ubdcN in /dev and in sysfs. devtmpfs gives it to the owner. The device type of ubdbN belongs to
 * the block layer, so udev sets its owner, which it reads from these attributes.
 */
#include <linux/cred.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "ubd.h"

static struct ubd_device *ubd_of_device(const struct device *device)
{
	return container_of(device, struct ubd_device, device);
}

static ssize_t owner_uid_show(struct device *device, struct device_attribute *attr, char *buf)
{
	kuid_t uid = ubd_of_device(device)->owner_uid;

	return sysfs_emit(buf, "%u\n", from_kuid_munged(current_user_ns(), uid));
}
static DEVICE_ATTR_RO(owner_uid);

static ssize_t owner_gid_show(struct device *device, struct device_attribute *attr, char *buf)
{
	kgid_t gid = ubd_of_device(device)->owner_gid;

	return sysfs_emit(buf, "%u\n", from_kgid_munged(current_user_ns(), gid));
}
static DEVICE_ATTR_RO(owner_gid);

static ssize_t unprivileged_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", ubd_is_content_foreign(ubd_of_device(device)));
}
static DEVICE_ATTR_RO(unprivileged);

static struct attribute *ubd_node_attrs[] = {
	&dev_attr_owner_uid.attr,
	&dev_attr_owner_gid.attr,
	&dev_attr_unprivileged.attr,
	NULL,
};
ATTRIBUTE_GROUPS(ubd_node);

static char *ubd_devnode(ubd_devnode_device *device, umode_t *mode, kuid_t *uid, kgid_t *gid)
{
	const struct ubd_device *dev = ubd_of_device(device);

	/* On removal only the name is asked for, which is the default one. */
	if (mode)
		*mode = 0600;
	if (uid)
		*uid = dev->owner_uid;
	if (gid)
		*gid = dev->owner_gid;
	return NULL;
}

const struct device_type ubd_device_type = {
	.name = "ubdc",
	.groups = ubd_node_groups,
	.devnode = ubd_devnode,
};
