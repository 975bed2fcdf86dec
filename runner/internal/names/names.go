// Package names holds the names and paths that the three binaries share with each other and with the other rooms
// (ARCHITECTURE.md, "Names and paths").
package names

import (
	"fmt"
	"path/filepath"
)

const (
	// GatewaySocket is where launchers find gatewayd.
	GatewaySocket = "/run/k8s-burst/gatewayd.sock"
	// AgentTarget is where gatewayd finds the agent on the same host.
	AgentTarget = "unix:///run/k8s-burst/agent.sock"
	// PodDir is the emptyDir of ours in a pod.
	PodDir = "/k8s-burst"
	// PodBinary is the supervisor's own file name.
	PodBinary = "k8s-burst-pod"
	// TaskVariable tags every process of a task in the pod.
	TaskVariable = "K8S_BURST_TASK"
	// TaskBatch is the name of the batch script's task.
	TaskBatch = "batch"
	// ReceiveCommand is the command of k8s-burst-pod that writes a file which is broadcast.
	ReceiveCommand = "receive"
	// ChannelCommand is the purpose of a channel from a stand-in for one of Slurm's commands.
	ChannelCommand = "command"
	// TerminationLog is where the kubelet reads why a container ended.
	TerminationLog = "/dev/termination-log"
	// ForeignGroupsExit is the exit code of a supervisor that has found itself in groups that the user is not in.
	ForeignGroupsExit = 77
	// TaskInteractive is the name of the interactive step's task.
	TaskInteractive = "interactive"
)

// Commands are those of Slurm's commands that have a stand-in in the pod.
var Commands = []string{
	"sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "scrontab", "sdiag", "sinfo",
	"sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger",
}

// CommandsSocket is where stand-ins find the supervisor.
func CommandsSocket(dir string) string { return filepath.Join(dir, "run", "commands.sock") }

// StandIns is where the stand-ins are.
func StandIns(dir string) string { return filepath.Join(dir, "bin") }

// SupervisorSocket is where attach finds the supervisor.
func SupervisorSocket(dir string) string { return filepath.Join(dir, "run", "supervisor.sock") }

// Binary is where install puts this program.
func Binary(dir string) string { return filepath.Join(dir, "bin", PodBinary) }

// SpoolDir is where the script of a job lies, named as slurmd names it.
func SpoolDir(dir string, jobID uint32) string {
	return filepath.Join(dir, "spool", fmt.Sprintf("job%05d", jobID))
}

// StepTask is the name of one task of a step.
func StepTask(step, task string) string { return step + "." + task }
