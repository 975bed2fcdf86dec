// k8s-burst-pod runs a job's tasks in its pod: supervise, attach and install.
package main

import (
	"os"

	"k8s-burst/runner/internal/podcmd"
)

func main() { os.Exit(podcmd.Run(os.Args[1:])) }
