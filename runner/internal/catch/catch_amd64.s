#include "textflag.h"

// func handler()
// The kernel calls it with the signal's number in DI, and restores every register after it. It may interrupt anything,
// so it uses its own stack only.
TEXT ·handler(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	PUSHQ DI
	MOVLQSX ·pipeFD(SB), DI
	MOVQ SP, SI
	MOVQ $1, DX
	MOVQ $1, AX // write
	SYSCALL
	POPQ DI
	RET

// func restorer()
TEXT ·restorer(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ $15, AX // rt_sigreturn
	SYSCALL
	INT $3

// func address(which int) uintptr
TEXT ·address(SB), NOSPLIT, $0-16
	LEAQ ·handler(SB), AX
	CMPQ which+0(FP), $0
	JEQ done
	LEAQ ·restorer(SB), AX
done:
	MOVQ AX, ret+8(FP)
	RET
