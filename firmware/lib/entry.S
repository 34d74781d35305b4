/*
 * First and last instructions of every driver: docs/reference/syscall-abi.md section 3.4.
 *
 * In:  RCX image handle, RDX MM system table (NULL for a driver that starts before the broker), RSP mod 16 = 8,
 *      R15 the call gate's far pointer (selector 0x63 in bits 32-47). The slot at [RSP] is no return address.
 * Out: through the call gate, RAX = EFI_STATUS. R15 is callee-saved, so compiled code has kept it.
 */
        .intel_syntax noprefix
        .section .text._ModuleEntryPoint, "ax", @progbits
        .globl  _ModuleEntryPoint
        .type   _ModuleEntryPoint, @function
_ModuleEntryPoint:
        sub     rsp, 0x28
        call    MmDriverStart
        add     rsp, 0x28
        push    r15
        .byte   0xff, 0x1c, 0x24        /* call fword ptr [rsp]: m16:32 */
        ud2                             /* ring 0 does not come back */
        .size   _ModuleEntryPoint, . - _ModuleEntryPoint
        .section .note.GNU-stack, "", @progbits
