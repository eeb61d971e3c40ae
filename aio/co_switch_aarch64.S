/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * co_switch() for aarch64, AAPCS64: x19 to x29, the return address in x30, the
 * low halves of v8 to v15 and fpcr belong to the caller.
 *
 * A suspended stack, from its saved sp upwards:
 *   0 x19 to x28, 80 x29, 88 x30, 96 d8 to d15, 160 fpcr, 168 nothing
 * CO_SWITCH_FRAME_* in co_switch.c repeat this.
 *
 * BTI: the note at the end says that indirect branches go to a landing pad only. The way out is a
 * return, which needs none.
 */
	.text
	.globl	co_switch
	.hidden	co_switch
	.type	co_switch, %function
	.p2align 4
co_switch:
	hint	#34 /* bti c */
	sub	sp, sp, #176
	stp	x19, x20, [sp]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mrs	x9, fpcr
	str	x9, [sp, #160]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldr	x9, [sp, #160]
	msr	fpcr, x9
	ldp	d14, d15, [sp, #144]
	ldp	d12, d13, [sp, #128]
	ldp	d10, d11, [sp, #112]
	ldp	d8, d9, [sp, #96]
	ldp	x29, x30, [sp, #80]
	ldp	x27, x28, [sp, #64]
	ldp	x25, x26, [sp, #48]
	ldp	x23, x24, [sp, #32]
	ldp	x21, x22, [sp, #16]
	ldp	x19, x20, [sp]
	add	sp, sp, #176
	ret
	.size	co_switch, . - co_switch

	.section .note.GNU-stack, "", %progbits

	/* NT_GNU_PROPERTY_TYPE_0: GNU_PROPERTY_AARCH64_FEATURE_1_AND is ..._FEATURE_1_BTI. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000000, 4, 1, 0
