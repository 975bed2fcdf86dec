// Go would hold the files of its cgroup's CPU limit open, and read them every second.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// k8s-burst-run is what Slurm's plugin starts: it announces submissions and stands in the place of tasks.
package main

import (
	"os"

	"k8s-burst/runner/internal/runcmd"
)

func main() { os.Exit(runcmd.Run(os.Args[1:])) }
