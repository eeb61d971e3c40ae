// SPDX-License-Identifier: GPL-2.0-only
/*
 * The names by which a disk is found again: serial number and UUID, as given by its server and
 * shown as attributes of the disk (/sys/block/ubdbN/serial and uuid, if set). They are constant
 * once START_DEV is under way. The rest of the identity is for servers.
 */
#include <linux/blkdev.h>
#include <linux/ctype.h>
#include <linux/string.h>

#include "compat.h"
#include "ubd.h"

/* Characters that need no escaping in a file name, in udev rules or in a shell. */
static bool ubd_is_serial_char(char c)
{
	return isascii(c) && (isalnum(c) || strchr("+-.:=@_", c));
}

static bool ubd_is_serial_valid(const char *serial)
{
	size_t len = strnlen(serial, UBD_SERIAL_SIZE);

	if (len == UBD_SERIAL_SIZE || memchr_inv(serial + len, 0, UBD_SERIAL_SIZE - len))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!ubd_is_serial_char(serial[i]))
			return false;
	return true;
}

/*
 * The names are fixed once START_DEV is under way. A server that recovers the device may know its
 * storage by another identifier. Under dev->lock.
 */
static bool ubd_may_be(const struct ubd_device *dev, const struct ubd_identity *identity)
{
	const struct ubd_identity *is = &dev->identity;

	if (dev->state == UBD_S_DEV_ADDED)
		return !dev->starting;
	return dev->state == UBD_S_DEV_RECOVERING &&
	       !memcmp(is->serial, identity->serial, sizeof(is->serial)) &&
	       !memcmp(is->uuid, identity->uuid, sizeof(is->uuid));
}

int ubd_device_set_identity(struct ubd_device *dev, const struct ubd_identity *identity)
{
	int err = 0;

	if (!ubd_is_serial_valid(identity->serial) ||
	    memchr_inv(identity->reserved, 0, sizeof(identity->reserved)))
		return -EINVAL;

	spin_lock(&dev->lock);
	if (ubd_may_be(dev, identity))
		dev->identity = *identity;
	else
		err = -EBUSY;
	spin_unlock(&dev->lock);
	return err;
}

void ubd_device_get_identity(struct ubd_device *dev, struct ubd_identity *ret_identity)
{
	spin_lock(&dev->lock);
	*ret_identity = dev->identity;
	spin_unlock(&dev->lock);
}

/* ---- attributes ---- */

static const struct ubd_identity *ubd_identity_of(struct device *disk)
{
	const struct ubd_device *dev = dev_to_disk(disk)->private_data;

	return &dev->identity;
}

static ssize_t serial_show(struct device *disk, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", ubd_identity_of(disk)->serial);
}
static DEVICE_ATTR_RO(serial);

static ssize_t uuid_show(struct device *disk, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%pUb\n", ubd_identity_of(disk)->uuid);
}
static DEVICE_ATTR_RO(uuid);

static umode_t ubd_identity_visible(struct kobject *kobj, struct attribute *attr, int i)
{
	const struct ubd_identity *identity = ubd_identity_of(kobj_to_dev(kobj));

	if (attr == &dev_attr_serial.attr)
		return identity->serial[0] ? attr->mode : 0;
	return memchr_inv(identity->uuid, 0, sizeof(identity->uuid)) ? attr->mode : 0;
}

static struct attribute *ubd_identity_attrs[] = {
	&dev_attr_serial.attr,
	&dev_attr_uuid.attr,
	NULL,
};

static const struct attribute_group ubd_identity_group = {
	.attrs = ubd_identity_attrs,
	.is_visible = ubd_identity_visible,
};

const struct attribute_group *ubd_disk_groups[] = {
	&ubd_identity_group,
	NULL,
};
