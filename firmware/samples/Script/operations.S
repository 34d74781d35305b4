/*
 * One operation of a script each; At<Name> labels the instruction at which a stop must be. Parameters in RCX, RDX,
 * R8 and R9, result in RAX (Microsoft x64 convention).
 */
        .intel_syntax noprefix
        .section .text.ScriptOperations, "ax", @progbits

        .macro  function name
        .globl  \name
        .type   \name, @function
\name:
        .endm

        .macro  here name
        .globl  At\name
        .type   At\name, @function
At\name:
        .endm

function DoCall                         /* number, three arguments */
        mov     rax, rcx
here Call
        syscall
        ret

function DoCallOn                       /* number, two arguments, stack pointer at the system call */
        push    rbx
        mov     rbx, rsp
        mov     rsp, r9
        xor     r9d, r9d
        mov     rax, rcx
here CallOn
        syscall
        mov     rsp, rbx
        pop     rbx
        ret

function DoCallFlags                    /* number, two arguments, RFLAGS at the system call */
        mov     rax, rcx
        push    2
        push    r9
        xor     r9d, r9d
        popfq
here CallFlags
        syscall
        popfq
        ret

function DoRead                         /* address -> 8 bytes */
here Read
        mov     rax, [rcx]
        ret

function DoWrite                        /* address, 8 bytes */
here Write
        mov     [rcx], rdx
        xor     eax, eax
        ret

function DoCopy                         /* destination, source, count of bytes */
        push    rdi
        push    rsi
        mov     rdi, rcx
        mov     rsi, rdx
        mov     rcx, r8
here Copy
        rep movsb
        pop     rsi
        pop     rdi
        xor     eax, eax
        ret

function DoFill                         /* destination, byte, count of bytes */
        push    rdi
        mov     rdi, rcx
        mov     eax, edx
        mov     rcx, r8
here Fill
        rep stosb
        pop     rdi
        xor     eax, eax
        ret

function DoReadVector                   /* address -> the lower 8 of 16 bytes */
here ReadVector
        movdqu  xmm0, [rcx]
        movq    rax, xmm0
        ret

function DoWriteVector                  /* address, the lower 8 of 16 bytes */
        movq    xmm0, rdx
here WriteVector
        movdqu  [rcx], xmm0
        xor     eax, eax
        ret

function DoAdd                          /* address, value: one atomic read and write */
here Add
        lock add [rcx], rdx
        xor     eax, eax
        ret

function DoInvoke                       /* function, three arguments -> what it returns */
        sub     rsp, 0x28
        mov     rax, rcx
        mov     rcx, rdx
        mov     rdx, r8
        mov     r8, r9
here Invoke
        call    rax
        add     rsp, 0x28
        ret

function DoJump                         /* target; a RET there comes back */
here Jump
        jmp     rcx

function DoPush                         /* stack pointer to push at; restores RSP from what it pushed */
        mov     rax, rsp
        mov     rsp, rcx
here Push
        push    rax
        pop     rsp
        ret

function DoSave                         /* address of 512 bytes, a multiple of 16 */
here Save
        fxsave  [rcx]
        xor     eax, eax
        ret

function DoLeave                        /* status, far pointer: 32 bits of offset, then the selector */
        mov     rax, rcx
        push    rdx
here Leave
        .byte   0xff, 0x1c, 0x24        /* call fword ptr [rsp]: m16:32 */
        ud2

function ScriptReturn
        ret

        .section .note.GNU-stack, "", @progbits
