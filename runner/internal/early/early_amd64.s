#include "textflag.h"

// func getrlimit(resource int, into *rlimit) int
TEXT ·getrlimit(SB), NOSPLIT, $0-24
	MOVQ resource+0(FP), DI
	MOVQ into+8(FP), SI
	MOVL $97, AX
	SYSCALL
	MOVQ AX, ret+16(FP)
	RET
