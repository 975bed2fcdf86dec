package relay

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"k8s-burst/runner/internal/carry"
	"k8s-burst/runner/internal/environ"
	"k8s-burst/runner/internal/names"
)

// broadcastTable are the options of sbcast, in the form of table.
const broadcastTable = `autocomplete= compress?/C exclude= fanout=/F treewidth= force/f jobid=/j no-allocation?/Z nodelist=/w
send-libs? preserve/p size=/s timeout=/t verbose/v version/V help usage`

// planBroadcast prepares sbcast. The real one would have slurmd write the file on the gateway; so a step with a task on
// each node writes it in the pods.
func (s *session) planBroadcast(p *plan, env []string) error {
	c, operands := operandsOf(specsIn(broadcastTable, ""), p.words)
	for _, name := range []string{"help", "usage", "version", "autocomplete"} {
		if _, given := c.last(name); given {
			p.env = carry.Without(env)
			return nil
		}
	}
	for _, name := range []string{"no-allocation", "send-libs"} {
		if value, given := c.last(name); given && value != "no" {
			return p.refuse("--%s can't be used from a pod", name)
		}
	}
	if len(operands) != 2 {
		return &refusedError{fmt.Sprintf("Need two file names, have %d names\nTry \"sbcast --help\" for more information", len(operands))}
	}
	source, destination := operands[0], operands[1]
	there, err := s.look(source)
	if err != nil {
		return err
	}
	if there.GetErrno() != 0 {
		return &refusedError{fmt.Sprintf("sbcast: error: Can't open `%s`: %s", source, errnoText(there.GetErrno()))}
	}
	job, given := c.last("jobid")
	if !given {
		job = environ.Get(env, "SLURM_JOB_ID")
	}
	job, _, _ = strings.Cut(job, ".")
	if job == "" {
		return &refusedError{"sbcast: error: Need a job id to run this command.  Run from within a Slurm job or use the --jobid option."}
	}
	words := []string{
		"--jobid=" + job, "--job-name=sbcast", "--ntasks-per-node=1", "--overlap", "--mem=0", "--gres=none", "--mpi=none", "--quiet",
		"--input=all", "--kill-on-bad-exit=1",
	}
	if nodes, given := c.last("nodelist"); given {
		words = append(words, "--nodelist="+nodes)
	} else if count := environ.Get(env, "SLURM_JOB_NUM_NODES"); count != "" {
		words = append(words, "--nodes="+count, "--ntasks="+count)
	}
	words = append(words, names.Binary(names.PodDir), names.ReceiveCommand, "--mode", strconv.FormatUint(uint64(there.GetMode()&0o777), 8))
	if _, given := c.last("preserve"); given || environ.Get(env, "SBCAST_PRESERVE") != "" {
		words = append(words, "--modified-ns", strconv.FormatInt(there.GetModifiedNs(), 10))
	}
	if _, given := c.last("force"); given || environ.Get(env, "SBCAST_FORCE") != "" {
		words = append(words, "--force")
	}
	if strings.HasSuffix(destination, "/") {
		destination += filepath.Base(source)
	}
	p.words = append(words, "--", destination)
	p.path = filepath.Join(s.cfg.Directory, "srun")
	p.input, p.inputPath = true, source
	// None of the job's options for steps: they are for its own.
	p.env = nil
	for _, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); name == "HOME" || name == "USER" || name == "LANG" {
			p.env = append(p.env, entry)
		}
	}
	p.env = append(p.env, carry.Directory+"="+string(p.command.GetCwd()))
	return nil
}

func errnoText(number uint32) string {
	text := syscall.Errno(number).Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
