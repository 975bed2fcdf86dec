// k8s-burst-announce tells the agent of a submission. k8s-burst-run becomes it.
package main

import (
	"os"

	"k8s-burst/runner/internal/announcecmd"
)

func main() { os.Exit(announcecmd.Run(os.Args[1:])) }
