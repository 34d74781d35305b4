/* Memory accesses and flow of the 0x2xx cases; At<Name> labels the instruction that a stop must be at. */
        .intel_syntax noprefix
        .section .text.OffenderFlow, "ax", @progbits

        .macro  here name
        .globl  At\name
        .type   At\name, @function
At\name:
        .endm

        .macro  function name
        .globl  \name
        .type   \name, @function
\name:
        .endm

function ReturnStub
        ret

function DoRead                         /* address -> value */
here Read
        mov     rax, [rcx]
        ret

function DoWrite                        /* address, value */
here Write
        mov     [rcx], rdx
        ret

function DoExecute                      /* target: a fault is at the target, not here */
        sub     rsp, 0x28
here Execute
        call    rcx
        add     rsp, 0x28
        ret

function DoPush                         /* stack pointer to push at; restores RSP from what it pushed */
        mov     rax, rsp
        mov     rsp, rcx
here Push
        push    rax
        pop     rsp
        ret

function DoRecurse                      /* depth: one return address on the stack each */
        test    rcx, rcx
        jz      1f
        dec     rcx
here Recurse
        call    DoRecurse
1:      ret

function DoLoop                         /* rounds; 0 is 2^64 of them */
here Loop
        pause
        dec     rcx
        jnz     AtLoop
        ret

        .section .note.GNU-stack, "", @progbits
