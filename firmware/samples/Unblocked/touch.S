/* One access each, labelled: a fault must be there. */
        .intel_syntax noprefix
        .section .text.Touch, "ax", @progbits

        .globl  TouchRead
        .type   TouchRead, @function
        .globl  AtTouchRead
        .type   AtTouchRead, @function
TouchRead:
AtTouchRead:
        movzx   eax, byte ptr [rcx]
        ret

        .globl  TouchWrite
        .type   TouchWrite, @function
        .globl  AtTouchWrite
        .type   AtTouchWrite, @function
TouchWrite:
AtTouchWrite:
        mov     [rcx], dl
        ret

        .section .note.GNU-stack, "", @progbits
