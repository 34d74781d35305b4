/* The function in .text, and labelled ways to call and to write. */
        .intel_syntax noprefix
        .section .text.Shape, "ax", @progbits

        .globl  FunctionInText
        .type   FunctionInText, @function
FunctionInText:
        mov     eax, 0x54
        ret

        .globl  ShapeCall
        .type   ShapeCall, @function
ShapeCall:
        sub     rsp, 0x28
        call    rcx
        mov     eax, eax                /* the functions answer with 32 bits */
        add     rsp, 0x28
        ret

        .globl  ShapeWrite
        .type   ShapeWrite, @function
        .globl  AtShapeWrite
        .type   AtShapeWrite, @function
ShapeWrite:
AtShapeWrite:
        mov     [rcx], dl
        ret

        .section .note.GNU-stack, "", @progbits
