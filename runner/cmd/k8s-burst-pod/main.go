// Go would hold the files of its cgroup's CPU limit open, and read them every second.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// k8s-burst-pod runs a job's tasks in its pod: supervise, attach and install. Called by the name of
// one of Slurm's commands it stands for that.
package main

import (
	"os"

	"k8s-burst/runner/internal/podcmd"
	"k8s-burst/runner/internal/standin"
)

func main() {
	if standin.Is(os.Args[0]) {
		os.Exit(standin.Run(os.Args))
	}
	os.Exit(podcmd.Run(os.Args[1:]))
}
