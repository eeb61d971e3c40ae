/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of order on disk that a mutant can break, to prove that tests/crash notices. Their text
 * is in docs/design.md; `crash --break` names them. Only a build with -Dmutants=true can break one.
 */
#ifndef UBD_QCOW2_RULES_H
#define UBD_QCOW2_RULES_H

enum qcow2_rule {
	RULE_NONE,
	RULE_C1_REFCOUNT_FIRST,	   /* a refcount reaches disk before the entries */
	RULE_C1_RESERVE,	   /* one that was raised ahead counts when it is durable */
	RULE_C2_DATA_DURABLE,	   /* copied data is durable before the entries */
	RULE_C2_ORDER_KEPT,	   /* only what replaces zeroes needs no order */
	RULE_C3_REFCOUNT_BLOCK,	   /* a refcount block is on disk before it is named */
	RULE_C3_L2_TABLE,	   /* and so is an L2 table */
	RULE_C3_EMPTY_TABLE,	   /* an empty one is written unless it reads as zeroes */
	RULE_C3_FILE_LENGTH,	   /* and the file does not end before it */
	RULE_C4_REFCOUNT_FALLS,	   /* a refcount falls after the last pointer is gone */
	RULE_C5_REUSE,		   /* a freed cluster is reused once that is durable */
	RULE_C6_FAILED_FLUSH,	   /* a failed write-back fails the flush */
	RULE_C6_HEADER,		   /* a header that could not be written is written again */
	RULE_C7_FLUSH,		   /* a flush ends with one of the file */
	RULE_BITMAP_MARK,	   /* bitmaps are marked as in use before the first change */
	RULE_WRITE_BACK_IN_FLIGHT, /* changes during a write-back are not in it */
	RULE_WRITE_BACK_OF_OTHERS, /* what is being written for others is not yet written */
	RULE_RESERVE_RELEASED,	   /* a clean close leaves no refcount that is too high */
	RULE_AHEAD_IS_ZERO,	   /* what is taken for zero has no data */
	RULE_COMMIT_DURABLE,	   /* a commit is durable before the image is emptied */
	RULE_REBASE_DURABLE,	   /* what a rebase copied is, before the header changes */
	RULE_SUMMARY_FIRST,	   /* a slice's summary is set before others can use it */
	RULE_SUMMARY_CLEARED,	   /* and is gone before an entry is stored */
	RULE_SUMMARY_FORGOTTEN	   /* or when its table may be gone */
};

#ifdef UBD_MUTANTS
extern enum qcow2_rule qcow2_broken_rule;
#define RULE_BROKEN(rule) (qcow2_broken_rule == (rule))
#else
#define RULE_BROKEN(rule) false
#endif

#endif
