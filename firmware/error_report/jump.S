/*
 * Where the supervisor enters ring 3 with a report: RCX the processor's index, RDX the report. The status goes back
 * through the call gate, as in lib/entry.S.
 */
        .intel_syntax noprefix
        .section .text.ErrorReportJumpPointer, "ax", @progbits
        .globl  ErrorReportJumpPointer
        .type   ErrorReportJumpPointer, @function
ErrorReportJumpPointer:
        sub     rsp, 0x28
        call    ErrorReport
        add     rsp, 0x28
        push    r15
        .byte   0xff, 0x1c, 0x24        /* call fword ptr [rsp]: m16:32 */
        ud2                             /* ring 0 does not come back */
        .size   ErrorReportJumpPointer, . - ErrorReportJumpPointer
        .section .note.GNU-stack, "", @progbits
