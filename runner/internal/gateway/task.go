package gateway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// slurmstepd is the program that starts a job's tasks and lives as long as they do.
const slurmstepd = "slurmstepd"

// IsTask says whether a process is below a slurmstepd of the job, so whether the job runs on this host, whoever else is
// alive. proc is /proc. Where it can't be told (another PID namespace, a title that is not understood) the answer is no.
func IsTask(proc string, pid int32, job uint32) bool {
	for at := int(pid); at > 1; {
		status, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(at), "status"))
		if err != nil {
			return false
		}
		if isStepd(proc, at, status, job) {
			return true
		}
		at, err = strconv.Atoi(field(status, "PPid:"))
		if err != nil {
			return false
		}
	}
	return false
}

// isStepd looks at what no user can write: a process of root that runs slurmstepd's program. Its title is
// "slurmstepd: [JOB.STEP]", or [JOB+COMPONENT.STEP] in a heterogeneous job.
func isStepd(proc string, pid int, status []byte, job uint32) bool {
	for id := range strings.FieldsSeq(field(status, "Uid:")) {
		if id != "0" {
			return false
		}
	}
	dir := filepath.Join(proc, strconv.Itoa(pid))
	program, err := os.Readlink(filepath.Join(dir, "exe"))
	// Of one that was replaced by an update, the kernel says so behind the name.
	if err != nil || strings.TrimSuffix(filepath.Base(program), " (deleted)") != slurmstepd {
		return false
	}
	title, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return false
	}
	start := fmt.Sprintf("%s: [%d", slurmstepd, job)
	return bytes.HasPrefix(title, []byte(start+".")) || bytes.HasPrefix(title, []byte(start+"+"))
}

// field is the value of a line of /proc/PID/status.
func field(status []byte, name string) string {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
