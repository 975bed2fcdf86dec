// k8s-burst-gatewayd joins the launchers of a gateway with the pods that their tasks run in.
package main

import (
	"os"

	"k8s-burst/runner/internal/gatewaycmd"
)

func main() { os.Exit(gatewaycmd.Run(os.Args[1:])) }
