// Package announcecmd is the command line of k8s-burst-announce, which is `k8s-burst-run announce`.
package announcecmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/announce"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

// Run is main without its exit. args are without the program's name.
func Run(args []string) int {
	code, err := run(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "k8s-burst: "+err.Error())
		return 1
	}
	return code
}

// modes are the values of --k8s-burst.
var modes = map[string]agentpb.BurstMode{
	"auto":  agentpb.BurstMode_BURST_MODE_AUTO,
	"now":   agentpb.BurstMode_BURST_MODE_NOW,
	"never": agentpb.BurstMode_BURST_MODE_NEVER,
}

func run(args []string) (int, error) {
	flags := flag.NewFlagSet("announce", flag.ContinueOnError)
	agent := flags.String("agent", "", "HOST:PORT of the burst agent")
	ca := flags.String("ca", "", "PEM file of the authority that signed the agent's certificate")
	deadline := flags.Int("deadline-ms", 500, "milliseconds for everything")
	cluster := flags.String("cluster", "", "ClusterName of slurm.conf")
	modeName := flags.String("mode", "auto", "value of --k8s-burst")
	image := flags.String("image", "", "value of --k8s-burst-image")
	maxCost := flags.String("max-cost", "", "value of --k8s-burst-max-cost")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	mode, ok := modes[*modeName]
	if !ok {
		return 2, fmt.Errorf("announce: --mode is %q: it is auto, now or never", *modeName)
	}
	line, answered := announce.Run(context.Background(), announce.Config{
		Agent:    *agent,
		CA:       *ca,
		Deadline: time.Duration(*deadline) * time.Millisecond,
		Munge:    announce.MungePrograms,
		Submission: submission(flags.Args(), &agentpb.Submission{
			Cluster: *cluster, Mode: mode, Image: *image, MaxCost: *maxCost,
		}),
	})
	fmt.Fprintln(os.Stderr, "k8s-burst: "+line)
	if !answered {
		return 1, nil
	}
	return 0, nil
}

// submission adds what can be told of a command line and of where it is typed.
func submission(line []string, s *agentpb.Submission) *agentpb.Submission {
	_, offset := time.Now().Zone()
	dir, _ := os.Getwd() // unknown where it has been removed
	s.CommandLine = announce.Words(line)
	s.Directives = announce.Words(append(announce.Directives(line), announce.Environment(line, os.LookupEnv)...))
	s.UtcOffsetS = proto.Int32(int32(offset))
	s.WorkDir = strings.ToValidUTF8(dir, "\uFFFD")
	return s
}
