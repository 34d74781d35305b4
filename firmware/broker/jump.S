/*
 * Where the supervisor enters ring 3 after the drivers' entry points: docs/reference/syscall-abi.md section 3.4.
 * Both return through the call gate whose far pointer R15 holds, with the callee's RAX as the status.
 */
        .intel_syntax noprefix

        .macro  RETURN_THROUGH_CALL_GATE
        push    r15
        .byte   0xff, 0x1c, 0x24        /* call fword ptr [rsp]: m16:32 */
        ud2                             /* ring 0 does not come back */
        .endm

/* RCX..R9: the arguments of an MMI handler, untouched; the handler is the fifth argument, at [RSP + 0x28]. */
        .section .text.CentralRing3JumpPointer, "ax", @progbits
        .globl  CentralRing3JumpPointer
        .type   CentralRing3JumpPointer, @function
CentralRing3JumpPointer:
        mov     rax, [rsp + 0x28]
        sub     rsp, 0x28
        call    rax
        add     rsp, 0x28
        RETURN_THROUGH_CALL_GATE
        .size   CentralRing3JumpPointer, . - CentralRing3JumpPointer

/* RCX: procedure, RDX: its argument. */
        .section .text.ApRing3JumpPointer, "ax", @progbits
        .globl  ApRing3JumpPointer
        .type   ApRing3JumpPointer, @function
ApRing3JumpPointer:
        mov     rax, rcx
        mov     rcx, rdx
        sub     rsp, 0x28
        call    rax
        add     rsp, 0x28
        RETURN_THROUGH_CALL_GATE
        .size   ApRing3JumpPointer, . - ApRing3JumpPointer

        .section .note.GNU-stack, "", @progbits
