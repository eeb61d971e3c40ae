/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 format on disk, as the published specification has it
 * (docs/interop/qcow2 of the QEMU project); section names are quoted from it.
 * All numbers are big-endian.
 */
#ifndef UBD_QCOW2_LAYOUT_H
#define UBD_QCOW2_LAYOUT_H

#include <stdint.h>

#define QCOW2_MAGIC	       0x514649fbu /* "QFI\xfb" */
/* "UFI\xfb", our own: an unfinished copy. To other programs it is not an image. */
#define QCOW2_MAGIC_UNFINISHED 0x554649fbu

/* Section "Header". */
struct qcow2_disk_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_file_offset;
	uint32_t backing_file_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_table_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	/* version 3 and later */
	uint64_t incompatible_features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint32_t refcount_order;
	uint32_t header_length;
	/* present if header_length says so */
	uint8_t compression_type;
	uint8_t padding[7];
} __attribute__((packed));

_Static_assert(sizeof(struct qcow2_disk_header) == 112, "qcow2 header");

#define QCOW2_V2_HEADER_LENGTH		   72
#define QCOW2_V3_HEADER_LENGTH		   104

#define QCOW2_MIN_CLUSTER_BITS		   9
#define QCOW2_MAX_CLUSTER_BITS		   21
#define QCOW2_MIN_EXTENDED_L2_CLUSTER_BITS 14
#define QCOW2_MAX_REFCOUNT_ORDER	   6
#define QCOW2_MAX_BACKING_NAME		   1023
/* QEMU's limits on tables, kept so that images interchange. */
#define QCOW2_MAX_L1_BYTES		   (32u << 20)
#define QCOW2_MAX_REFTABLE_BYTES	   (8u << 20)
#define QCOW2_MAX_SNAPSHOTS		   65536
#define QCOW2_MAX_SNAPSHOT_EXTRA	   1024
#define QCOW2_MAX_SNAPSHOT_TABLE	   (64u << 20)

#define QCOW2_INCOMPAT_DIRTY		   (1ull << 0)
#define QCOW2_INCOMPAT_CORRUPT		   (1ull << 1)
#define QCOW2_INCOMPAT_DATA_FILE	   (1ull << 2)
#define QCOW2_INCOMPAT_COMPRESSION	   (1ull << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2	   (1ull << 4)

#define QCOW2_COMPAT_LAZY_REFCOUNTS	   (1ull << 0)

#define QCOW2_AUTOCLEAR_BITMAPS		   (1ull << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW	   (1ull << 1)
/* The autoclear features that we maintain; a writer clears all others. */
#define QCOW2_AUTOCLEAR_KNOWN		   (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_FILE_RAW)

#define QCOW2_COMPRESSION_ZLIB		   0
#define QCOW2_COMPRESSION_ZSTD		   1

/* Section "Header extensions". */
struct qcow2_disk_extension {
	uint32_t type;
	uint32_t length;
} __attribute__((packed));

#define QCOW2_EXT_END		 0x00000000u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURE_NAMES	 0x6803f857u
#define QCOW2_EXT_BITMAPS	 0x23852875u
#define QCOW2_EXT_ENCRYPTION	 0x0537be77u
#define QCOW2_EXT_DATA_FILE	 0x44415441u
/* Our own ("ubdp"): empty, extensions continue after it. See header_layout.h. */
#define QCOW2_EXT_PADDING	 0x75626470u

/* Section "Bitmaps extension". */
struct qcow2_disk_bitmaps {
	uint32_t nb_bitmaps;
	uint32_t reserved;
	uint64_t bitmap_directory_size;
	uint64_t bitmap_directory_offset;
} __attribute__((packed));

_Static_assert(sizeof(struct qcow2_disk_bitmaps) == 24, "bitmaps extension");

/* Section "Bitmap directory": the fixed part of an entry. */
struct qcow2_disk_bitmap {
	uint64_t bitmap_table_offset;
	uint32_t bitmap_table_size;
	uint32_t flags;
	uint8_t type;
	uint8_t granularity_bits;
	uint16_t name_size;
	uint32_t extra_data_size;
} __attribute__((packed));

_Static_assert(sizeof(struct qcow2_disk_bitmap) == 24, "bitmap directory entry");

#define QCOW2_BITMAP_IN_USE	      (1u << 0)
#define QCOW2_BITMAP_AUTO	      (1u << 1)
#define QCOW2_BITMAP_EXTRA_COMPATIBLE (1u << 2)
#define QCOW2_BITMAP_TYPE_DIRTY	      1

#define QCOW2_BITMAP_TABLE_ALL_ONES   (1ull << 0)
#define QCOW2_BITMAP_TABLE_RESERVED   0xff000000000001feull

/* QEMU's limits. */
#define QCOW2_MAX_BITMAPS	      65535
#define QCOW2_MAX_BITMAP_NAME	      1023
#define QCOW2_MAX_BITMAP_DIRECTORY    (QCOW2_MAX_BITMAPS * 1024u)

/* Section "Feature name table". */
struct qcow2_disk_feature_name {
	uint8_t type; /* 0 incompatible, 1 compatible, 2 autoclear */
	uint8_t bit;
	char name[46];
} __attribute__((packed));

/* Section "Snapshots": the fixed part of a table entry. */
struct qcow2_disk_snapshot {
	uint64_t l1_table_offset;
	uint32_t l1_size;
	uint16_t id_size;
	uint16_t name_size;
	uint32_t date_sec;
	uint32_t date_nsec;
	uint64_t vm_clock_nsec;
	uint32_t vm_state_size;
	uint32_t extra_data_size;
} __attribute__((packed));

/* The known part of the extra data that follows it. */
struct qcow2_disk_snapshot_extra {
	uint64_t vm_state_size; /* if present, replaces the 32 bits */
	uint64_t disk_size;
	uint64_t icount; /* instructions executed, UINT64_MAX if they were not counted */
} __attribute__((packed));

/* Section "Cluster mapping". */
#define QCOW2_OFFSET_MASK	   0x00fffffffffffe00ull /* bits 9 to 55, L1 and L2 entries */
#define QCOW2_L1_RESERVED	   0x7f000000000001ffull
#define QCOW2_L2_RESERVED	   0x3f000000000001feull /* of a standard cluster */
#define QCOW2_COPIED		   (1ull << 63)
#define QCOW2_COMPRESSED	   (1ull << 62)
#define QCOW2_ZERO		   (1ull << 0)

#define QCOW2_REFTABLE_OFFSET_MASK 0xfffffffffffffe00ull

/* No host cluster is at or above this, because an L1 or L2 entry cannot name it. */
#define QCOW2_MAX_HOST_OFFSET	   (1ull << 56)

#endif
