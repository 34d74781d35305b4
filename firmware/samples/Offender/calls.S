/*
 * One SYSCALL instruction for each 0x3xx case, so that a stop names its case by its address. Same contract as SysCall
 * in lib/syscall.S: RCX index, RDX, R8, R9 arguments, RAX result.
 */
#include "cases.h"

        .intel_syntax noprefix
        .section .text.OffenderCalls, "ax", @progbits

        .macro  call_stub name
        .globl  Call\name
        .type   Call\name, @function
Call\name:
        mov     rax, rcx
        .globl  At\name
        .type   At\name, @function
At\name:
        syscall
        ret
        .endm

#define OFFENDER_STUB(number, name) call_stub name;
        OFFENDER_CALL_CASES(OFFENDER_STUB)

        .section .note.GNU-stack, "", @progbits
