// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The magic numbers of all formats, our own and those of other programs. A table of data, so that a
 * format can ask what a file looks like without knowing the other formats.
 *
 * qemu-img does not look for all of them: QEMU takes a fixed VHD, and everything compressed, for
 * raw.
 */
#include "probe.h"

#include <glib.h>
#include <string.h>

#define MAGIC(format, off, bytes)                                                                  \
	{                                                                                          \
		(format), (bytes), sizeof(bytes) - 1, (off)                                        \
	}

/*
 * By the offset from the start of the file; all of them lie within PROBE_HEAD_BYTES. The first
 * match counts: qcow2 is last, since its magic number is also that of version 1 of qcow.
 */
static const struct magic {
	const char *format;
	const char *bytes;
	uint16_t len;
	uint16_t off;
} head_magics[] = {
	MAGIC("vmdk", 0, "KDMV"),
	MAGIC("vmdk", 0, "COWD"),
	MAGIC("vdi", 64, "\x7f\x10\xda\xbe"),
	MAGIC("vhdx", 0, "vhdxfile"),
	MAGIC("vpc", 0, "conectix"),
	MAGIC("qed", 0, "QED\0"),
	MAGIC("parallels", 0, "WithoutFreeSpace"),
	MAGIC("parallels", 0, "WithouFreSpacExt"),
	MAGIC("qcow", 0, "QFI\xfb\0\0\0\1"),
	MAGIC("bochs", 0, "Bochs Virtual HD Image\0"),
	MAGIC("cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop "),
	MAGIC("luks", 0, "LUKS\xba\xbe\0\1"),
	MAGIC("luks", 0, "LUKS\xba\xbe\0\2"),
	MAGIC("gzip", 0, "\x1f\x8b\x08"),
	MAGIC("xz", 0,
	      "\xfd"
	      "7zXZ\0"),
	MAGIC("zstd", 0, "\x28\xb5\x2f\xfd"),
	MAGIC("bzip2", 4, "1AY&SY"),
	MAGIC("zip", 0, "PK\3\4"),
	MAGIC("zip", 0, "PK\5\6"),
	MAGIC("zip", 0, "PK\7\x8PK\3\4"),
	MAGIC("tar", 257, "ustar"),
	MAGIC("qcow2", 0, "QFI\xfb"),
	/* A copy that is not complete. */
	MAGIC("qcow2", 0, "UFI\xfb"),
};

/* By the offset from the end. */
static const struct magic tail_magics[] = {
	MAGIC("vpc", 512, "conectix"),
	MAGIC("vpc", 511, "conectix"),
	MAGIC("dmg", 512, "koly\0\0\0\4"),
};

/* Comments and empty lines, up to the line with a version: this is how descriptors begin. */
static bool is_vmdk_descriptor(const uint8_t *head, size_t bytes)
{
	const char *line = (const char *)head, *end = line + bytes;

	while (line < end) {
		const char *newline = memchr(line, '\n', end - line);
		g_autofree char *text = newline ? g_strndup(line, newline - line) : NULL;

		if (!text)
			return false;
		g_strstrip(text);
		if (*text && *text != '#')
			return strcmp(text, "version=1") == 0 || strcmp(text, "version=2") == 0 ||
			       strcmp(text, "version=3") == 0;
		line = newline + 1;
	}
	return false;
}

static bool matches(const struct magic *magic, const uint8_t *place)
{
	return memcmp(place, magic->bytes, magic->len) == 0;
}

const char *probe_head(const uint8_t *head, size_t bytes)
{
	bytes = MIN(bytes, PROBE_HEAD_BYTES);
	for (size_t i = 0; i < G_N_ELEMENTS(head_magics); i++) {
		const struct magic *magic = &head_magics[i];

		if (magic->off + magic->len <= bytes && matches(magic, head + magic->off))
			return magic->format;
	}
	return is_vmdk_descriptor(head, bytes) ? "vmdk" : NULL;
}

const char *probe_tail(const uint8_t *tail)
{
	for (size_t i = 0; i < G_N_ELEMENTS(tail_magics); i++)
		if (matches(&tail_magics[i], tail + PROBE_TAIL_BYTES - tail_magics[i].off))
			return tail_magics[i].format;
	return NULL;
}
