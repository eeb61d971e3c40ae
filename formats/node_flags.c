// SPDX-License-Identifier: GPL-2.0-or-later
/* What the options common to all nodes mean. */
#include <errno.h>
#include <string.h>

#include "image_int.h"

/* Sets or clears @flag if the option was given. */
static void set_flag(const struct node_options *options, const char *name, unsigned flag,
		     unsigned *flags)
{
	if (node_options_bool(options, name, *flags & flag))
		*flags |= flag;
	else
		*flags &= ~flag;
}

static void set_discard(const struct node_options *options, unsigned *flags)
{
	const char *discard = node_options_text(options, "discard");

	if (!discard)
		return;
	*flags &= ~IMAGE_UNMAP;
	if (!strcmp(discard, "unmap") || !strcmp(discard, "on"))
		*flags |= IMAGE_UNMAP;
}

/* Like QEMU: freeing space needs discard=unmap. */
static int check_detect_zeroes(const struct node_options *options, unsigned flags, GError **err)
{
	if (g_strcmp0(node_options_text(options, "detect-zeroes"), "unmap") ||
	    flags & IMAGE_UNMAP || !(flags & IMAGE_RDWR))
		return 0;
	return error_refuse(err, -EINVAL,
			    "setting detect-zeroes to unmap is not allowed without setting discard "
			    "operation to unmap");
}

int node_flags_apply(const struct node_options *options, unsigned *flags, GError **err)
{
	int ret = node_options_check_common(options, err);

	if (ret)
		return ret;
	if (*flags & (IMAGE_RDWR | IMAGE_FOR_REPAIR) &&
	    node_options_bool(options, "read-only", false))
		return error_refuse(err, -EACCES, "Block node is read-only");
	set_flag(options, "force-share", IMAGE_FORCE_SHARE, flags);
	/* What the node above decided was checked there. */
	if (*flags & IMAGE_RDWR && node_options_bool(options, "force-share", false))
		return error_refuse(err, -EINVAL,
				    "force-share=on can only be used with read-only images");
	set_flag(options, "cache.direct", IMAGE_DIRECT, flags);
	set_flag(options, "cache.no-flush", IMAGE_NO_FLUSH, flags);
	set_discard(options, flags);
	return check_detect_zeroes(options, *flags, err);
}

enum image_detect_zeroes node_flags_detect_zeroes(const struct node_options *options)
{
	const char *value = options ? node_options_text(options, "detect-zeroes") : NULL;

	if (!value || strcmp(value, "off") == 0)
		return IMAGE_DETECT_ZEROES_OFF;
	return strcmp(value, "on") == 0 ? IMAGE_DETECT_ZEROES_ON : IMAGE_DETECT_ZEROES_UNMAP;
}
