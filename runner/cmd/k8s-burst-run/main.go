// At each start Go would read /proc/self/mountinfo, which is long on a gateway, for how many threads it may use.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// k8s-burst-run is what Slurm's plugin starts: it announces submissions and stands in the place of tasks.
package main

import (
	"os"

	"k8s-burst/runner/internal/runcmd"
)

func main() { os.Exit(runcmd.Run(os.Args[1:])) }
