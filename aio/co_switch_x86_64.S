/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * co_switch() for x86-64, System V ABI: rbx, rbp, r12 to r15, the x87 control
 * word and the control bits of mxcsr belong to the caller.
 *
 * A suspended stack, from its saved rsp upwards:
 *   0 mxcsr, 4 x87 control word, 8 r15, 16 r14, 24 r13, 32 r12, 40 rbx, 48 rbp, 56 return address
 * CO_SWITCH_FRAME_* in co_switch.c repeat this.
 *
 * CET: the note at the end says that indirect branches go to an endbr64 only (IBT), but for the one
 * here, a return in disguise, which is not tracked. It does not say SHSTK: each coroutine would
 * need a shadow stack that is switched with its stack. The linker drops from a program what
 * one of its objects does not say, so a shadow stack is never turned on for it.
 */
	.text
	.globl	co_switch
	.hidden	co_switch
	.type	co_switch, @function
	.p2align 4
co_switch:
	.cfi_startproc
	endbr64
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	/* Not ret: the CPU's stack of return addresses has another one on top. */
	popq	%rcx
	notrack jmp	*%rcx
	.cfi_endproc
	.size	co_switch, . - co_switch

	.section .note.GNU-stack, "", @progbits

	/* NT_GNU_PROPERTY_TYPE_0: GNU_PROPERTY_X86_FEATURE_1_AND is GNU_PROPERTY_X86_FEATURE_1_IBT. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000002, 4, 1, 0
