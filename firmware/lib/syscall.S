/*
 * UINT64 SysCall(CallIndex, Arg1, Arg2, Arg3): docs/reference/syscall-abi.md section 1.
 *
 * RCX carries the index in and is lost to the return address; RDX, R8 and R9 already are where ring 0 wants them.
 * R11 receives RFLAGS from the processor, which the Microsoft convention would allow: it is kept all the same, as
 * part of the contract.
 */
        .intel_syntax noprefix
        .section .text.SysCall, "ax", @progbits
        .globl  SysCall
        .type   SysCall, @function
SysCall:
        push    r11
        mov     rax, rcx
        syscall
        pop     r11
        ret
        .size   SysCall, . - SysCall
        .section .note.GNU-stack, "", @progbits
