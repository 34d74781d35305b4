/*
 * One instruction each that ring 3 must not execute, or not with these operands. At<Name> labels the instruction
 * itself: a stop must be there. Parameters in RCX and RDX, result in RAX (Microsoft x64 convention).
 */
        .intel_syntax noprefix
        .section .text.OffenderInstructions, "ax", @progbits

        .macro  function name
        .globl  Do\name
        .type   Do\name, @function
Do\name:
        .endm

        .macro  here name
        .globl  At\name
        .type   At\name, @function
At\name:
        .endm

        .macro  plain name, instruction:vararg
        function \name
        here    \name
        \instruction
        ret
        .endm

function In                             /* port -> value */
        mov     edx, ecx
        xor     eax, eax
here In
        in      al, dx
        ret

function Out                            /* port, value */
        mov     eax, edx
        mov     edx, ecx
here Out
        out     dx, al
        ret

function InString                       /* port, buffer */
        push    rdi
        mov     rdi, rdx
        mov     edx, ecx
here InString
        insb
        pop     rdi
        ret

function OutString                      /* port, buffer */
        push    rsi
        mov     rsi, rdx
        mov     edx, ecx
here OutString
        outsb
        pop     rsi
        ret

function ReadMsr                        /* MSR -> value */
here ReadMsr
        rdmsr
        shl     rdx, 32
        mov     eax, eax
        or      rax, rdx
        ret

function WriteMsr                       /* MSR, value */
        mov     rax, rdx
        shr     rdx, 32
here WriteMsr
        wrmsr
        ret

plain Cli, cli
plain Sti, sti
plain Hlt, hlt
plain Wbinvd, wbinvd
plain Invd, invd
plain ReadCr0, mov rax, cr0
plain WriteCr3, mov cr3, rcx
plain ReadDr7, mov rax, dr7
plain LoadGdt, lgdt [rcx]
plain LoadIdt, lidt [rcx]
plain LoadTask, ltr cx
plain StoreGdt, sgdt [rcx]
plain InvalidatePage, invlpg [rcx]
plain ClearTaskSwitched, clts
plain SwapGs, swapgs
plain ReadCounter, rdpmc
plain ReadFsBase, rdfsbase rax
plain Avx, vzeroupper
plain Breakpoint, int3
plain Interrupt80, int 0x80
plain Undefined, ud2
plain UnalignedSse, movaps xmm0, [rcx]

function SysReturn                      /* would go on at RCX */
        lea     rcx, [rip + 1f]
        pushfq
        pop     r11
here SysReturn
        .byte   0x48, 0x0f, 0x07        /* sysretq */
1:      ret

function ReadXcr0
        xor     ecx, ecx
here ReadXcr0
        xgetbv
        ret

function Divide                         /* divisor -> 1000 / divisor */
        xor     edx, edx
        mov     eax, 1000
here Divide
        div     rcx
        ret

function JumpNonCanonical               /* target */
here JumpNonCanonical
        jmp     rcx

function FarCall                        /* selector; the callee is the RET below */
        sub     rsp, 0x18
        lea     rax, [rip + 1f]
        mov     [rsp], eax
        mov     [rsp + 4], cx
here FarCall
        .byte   0xff, 0x1c, 0x24        /* call fword ptr [rsp]: m16:32 */
        add     rsp, 0x18
        ret
1:      .byte   0xcb                    /* retf, operands as the call pushed them */

function FarReturn                      /* selector */
        push    rcx
        lea     rax, [rip + 1f]
        push    rax
here FarReturn
        .byte   0x48, 0xcb              /* retfq */
1:      ret

function InterruptReturn                /* selector of the code segment */
        mov     rax, rsp
        mov     edx, ss
        push    rdx
        push    rax
        pushfq
        push    rcx
        lea     rdx, [rip + 1f]
        push    rdx
here InterruptReturn
        iretq
1:      ret

        .section .note.GNU-stack, "", @progbits
