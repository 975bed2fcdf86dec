#include "textflag.h"

// func handler()
// The kernel calls it with the signal's number in R0, and restores every register after it. It may interrupt anything,
// so it uses its own stack only.
TEXT ·handler(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	SUB $16, RSP
	MOVD R0, (RSP)
	MOVW ·pipeFD(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD $16, RSP
	RET

// func restorer()
// The kernel's own is used.
TEXT ·restorer(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	RET

// func address(which int) uintptr
TEXT ·address(SB), NOSPLIT, $0-16
	MOVD $·handler(SB), R0
	MOVD which+0(FP), R1
	CBZ R1, done
	MOVD $0, R0
done:
	MOVD R0, ret+8(FP)
	RET
