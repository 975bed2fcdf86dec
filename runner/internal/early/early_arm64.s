#include "textflag.h"

// func getrlimit(resource int, into *rlimit) int
TEXT ·getrlimit(SB), NOSPLIT, $0-24
	MOVD resource+0(FP), R0
	MOVD into+8(FP), R1
	MOVD $163, R8
	SVC
	MOVD R0, ret+16(FP)
	RET
