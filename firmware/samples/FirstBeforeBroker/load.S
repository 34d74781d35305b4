/* The load that faults when the table is NULL: MmAllocatePool at offset 0x50. */
        .intel_syntax noprefix
        .section .text.LoadAllocatePool, "ax", @progbits
        .globl  LoadAllocatePool
        .type   LoadAllocatePool, @function
LoadAllocatePool:
        .globl  AtLoadAllocatePool
        .type   AtLoadAllocatePool, @function
AtLoadAllocatePool:
        mov     rax, [rcx + 0x50]
        ret
        .section .note.GNU-stack, "", @progbits
