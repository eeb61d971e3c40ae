// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: proves that all refcounts are right, or are one where nothing refers to the cluster,
 * without counting the references of each cluster.
 *
 * A bit is set for each refcount of one, and cleared by the first reference to that cluster. For
 * all other clusters, and further references to these, two sums are compared: that of h(cluster)
 * over all references, and that of refcount * h(cluster). Here, h gives numbers that look random,
 * modulo a prime, and is keyed anew for each check, so no image can be made for it: if a refcount
 * is wrong, the sums are equal with a probability of 2^-61. The bits that are left are those of
 * leaked clusters.
 */
#include <string.h>
#include <sys/random.h>

#include "check.h"

/* A Mersenne prime. */
#define PRIME	     ((1ull << 61) - 1)
/* With larger refcounts, or more clusters, the full check is left to find out. */
#define MAX_REFCOUNT (1ull << 60)
#define MAX_CLUSTERS (1ull << 31)

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum >= PRIME ? sum - PRIME : sum;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return add((uint64_t)product & PRIME, (uint64_t)(product >> 61));
}

/* SplitMix64. */
static uint64_t h(const struct check *c, uint64_t cluster)
{
	uint64_t z = (cluster + c->proof.key[0]) * 0x9e3779b97f4a7c15 + c->proof.key[1];

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) >> 3;
}

bool qcow2_check_has_one(const struct check *c, uint64_t cluster)
{
	return c->refcount_one[cluster / 64] >> (cluster % 64) & 1;
}

/* Clears the bit of a cluster, and returns it. */
static bool take_one(struct check *c, uint64_t cluster)
{
	uint64_t *word = &c->refcount_one[cluster / 64], bit = 1ull << (cluster % 64);
	bool one = *word & bit;

	*word &= ~bit;
	return one;
}

void qcow2_check_prove_reference(struct check *c, uint64_t cluster)
{
	if (!take_one(c, cluster))
		c->proof.counted = add(c->proof.counted, h(c, cluster));
}

static void add_refcount(struct check *c, uint64_t cluster, uint64_t refcount)
{
	if (refcount == 1)
		c->refcount_one[cluster / 64] |= 1ull << (cluster % 64);
	else
		c->proof.stored = add(c->proof.stored, multiply(refcount, h(c, cluster)));
	c->proof.used_end = cluster + 1;
	if (refcount >= MAX_REFCOUNT)
		c->proof.failed = true;
}

/* Refcounts of 16 bits that are all one or zero, which is usual. False: they are not. */
static bool try_add_64(struct check *c, uint64_t first, const uint16_t *refcounts)
{
	uint64_t ones = 0;
	uint16_t others = 0;

	for (unsigned i = 0; i < 64; i++) {
		others |= refcounts[i] & ~htobe16(1);
		ones |= (uint64_t)(refcounts[i] != 0) << i;
	}
	if (others)
		return false;
	c->refcount_one[first / 64] = ones;
	if (ones)
		c->proof.used_end = first + 64 - __builtin_clzll(ones);
	return true;
}

static void add_refcount_at(struct check *c, uint64_t first, const uint8_t *block, uint64_t index)
{
	uint64_t refcount = qcow2_refcount_load(c->q->refcount_order, block, index);

	if (refcount)
		add_refcount(c, first + index, refcount);
}

void qcow2_check_prove_block(struct check *c, uint64_t first, const uint8_t *block)
{
	uint64_t nr = MIN(1ull << c->q->refblock_bits, c->nr_clusters - first), i = 0;

	while (i < nr) {
		if (c->q->refcount_order == 4 && i % 64 == 0 && nr - i >= 64 &&
		    try_add_64(c, first + i, (const uint16_t *)block + i)) {
			i += 64;
			continue;
		}
		add_refcount_at(c, first, block, i++);
	}
}

bool qcow2_check_prove_plain(struct check *c, uint64_t desc)
{
	uint64_t host_off = desc & QCOW2_OFFSET_MASK, cluster = host_off >> c->q->cluster_bits;

	return desc == (host_off | QCOW2_COPIED) && host_off && !qcow2_in_cluster(c->q, host_off) &&
	       cluster < c->nr_clusters && take_one(c, cluster);
}

int qcow2_check_prove_init(struct check *c)
{
	memset(&c->proof, 0, sizeof(c->proof));
	if (c->nr_clusters > MAX_CLUSTERS || c->refs_wrong || c->rebuild ||
	    getrandom(c->proof.key, sizeof(c->proof.key), 0) != sizeof(c->proof.key))
		return -ENOTSUP;
	c->refcount_one = g_try_new0(uint64_t, c->nr_clusters / 64 + 1);
	c->window_start = 0;
	c->window_clusters = c->nr_clusters;
	c->walk = CHECK_PROVE;
	return c->refcount_one ? 0 : -ENOMEM;
}

void qcow2_check_prove_clear(struct check *c)
{
	g_free(c->refcount_one);
	c->refcount_one = NULL;
}

bool qcow2_check_is_proven(const struct check *c)
{
	return !c->proof.failed && c->proof.stored == c->proof.counted;
}
