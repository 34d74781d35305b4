/*
 * An entry stub as a driver gets that is linked against the wrong entry-point library: it ends with RET. On the
 * way down ring 0 pushes no return address, so RET takes whatever is in the slot at the first RSP
 * (docs/reference/syscall-abi.md section 3.2). The twin, built with BENIGN, returns through the call gate.
 */
        .intel_syntax noprefix
        .section .text._ModuleEntryPoint, "ax", @progbits
        .globl  _ModuleEntryPoint
        .type   _ModuleEntryPoint, @function
_ModuleEntryPoint:
        sub     rsp, 0x28
        call    MmDriverStart
        add     rsp, 0x28
        .globl  AtReturn
        .type   AtReturn, @function
AtReturn:
#ifdef BENIGN
        push    r15
        .byte   0xff, 0x1c, 0x24        /* call fword ptr [rsp]: m16:32 */
        ud2
#else
        ret
#endif
        .size   _ModuleEntryPoint, . - _ModuleEntryPoint
        .section .note.GNU-stack, "", @progbits
