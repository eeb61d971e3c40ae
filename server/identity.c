// SPDX-License-Identifier: GPL-2.0-or-later
/* The names by which a disk is found again; see identity.h. */
#include "identity.h"

#include <string.h>

#define MACHINE_ID   "/etc/machine-id"
#define DIGEST_BYTES 32
/* Bytes of the digest, after those that the UUID takes. */
#define SERIAL_BYTES 10

bool identity_is_serial(const char *text)
{
	return strlen(text) < IDENTITY_SERIAL_SIZE &&
	       strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "+-.:=@_") == strlen(text);
}

void identity_derive(const char *machine_id, const char *path, const char *snapshot,
		     struct identity *ret_identity)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	gsize bytes = DIGEST_BYTES;
	uint8_t digest[DIGEST_BYTES];

	/* With the terminators, so that different combinations are different input. */
	g_checksum_update(sum, (const guchar *)machine_id, strlen(machine_id) + 1);
	g_checksum_update(sum, (const guchar *)path, strlen(path) + 1);
	if (snapshot)
		g_checksum_update(sum, (const guchar *)snapshot, strlen(snapshot) + 1);
	g_checksum_get_digest(sum, digest, &bytes);

	*ret_identity = (struct identity){ 0 };
	memcpy(ret_identity->uuid, digest, sizeof(ret_identity->uuid));
	/* RFC 9562: version 8, for UUIDs that follow rules of their own. */
	ret_identity->uuid[6] = (ret_identity->uuid[6] & 0x0f) | 0x80;
	ret_identity->uuid[8] = (ret_identity->uuid[8] & 0x3f) | 0x80;
	for (int i = 0; i < SERIAL_BYTES; i++)
		g_snprintf(ret_identity->serial + 2 * i, 3, "%02x",
			   digest[sizeof(ret_identity->uuid) + i]);
}

void identity_of_image(const char *stable_name, const char *snapshot, struct identity *ret_identity)
{
	g_autofree char *machine_id = NULL;

	*ret_identity = (struct identity){ 0 };
	if (!stable_name)
		return;
	g_file_get_contents(MACHINE_ID, &machine_id, NULL, NULL);
	if (machine_id)
		g_strchomp(machine_id);
	identity_derive(machine_id ?: "", stable_name, snapshot, ret_identity);
}
