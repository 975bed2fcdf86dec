package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s-burst/runner/internal/carry"
	"k8s-burst/runner/internal/environ"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// searchPath is the PATH of every command, after the directory of Slurm's own.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// plan is a command to run.
type plan struct {
	name    string
	path    string
	words   []string // without the name
	env     []string
	dir     string
	umask   int
	command *pb.Command
	// input says whether it reads standard input.
	input bool
	// inputPath is a file of the pod that is read in the place of standard input.
	inputPath string
	// outputs are files of the pod that the command writes by way of its descriptors from 3 on.
	outputs []*pb.OpenOutput
	// remove are files and directories to remove at the end.
	remove []string
}

func (p *plan) cleanUp() {
	for _, path := range p.remove {
		_ = os.RemoveAll(path)
	}
}

func (p *plan) refuse(format string, args ...any) error {
	return refusal(p.name, fmt.Sprintf(format, args...))
}

func commandName(c *pb.Command) string {
	if len(c.GetArgv()) == 0 {
		return ""
	}
	return filepath.Base(string(c.GetArgv()[0]))
}

func stringsOf(words [][]byte) []string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = string(word)
	}
	return out
}

// plan decides what to run. It may ask the stand-in for files.
func (s *session) plan(c *pb.Command) (*plan, error) {
	p := &plan{name: commandName(c), command: c, umask: int(c.GetUmask() & 0o777)}
	if !slices.Contains(names.Commands, p.name) {
		return nil, p.refuse("only Slurm's own commands run on the gateway, and %q is none of them", p.name)
	}
	if len(c.GetFiles()) != 3 {
		return nil, p.refuse("the stand-in told of %d standard files", len(c.GetFiles()))
	}
	p.path = filepath.Join(s.cfg.Directory, p.name)
	if info, err := os.Stat(p.path); err != nil || !info.Mode().IsRegular() {
		return nil, p.refuse("the gateway has no %s; ask the administrator to check commands= in plugstack.conf", p.path)
	}
	p.words = stringsOf(c.GetArgv()[1:])
	env := stringsOf(c.GetEnv())
	p.dir = string(c.GetCwd())
	shared := isDirectory(p.dir)
	if !shared {
		p.dir = "/"
	}
	var err error
	switch p.name {
	case "srun":
		err = s.planRun(p, env, !shared)
	case "sbatch":
		err = s.planBatch(p, env)
	case "salloc":
		err = s.planAllocate(p, env)
	case "sbcast":
		err = s.planBroadcast(p, env)
	case "scrontab":
		err = p.planCrontab()
		p.env = carry.Without(env)
	case "scontrol", "sacctmgr", "sreport":
		// Without a command they ask for commands.
		p.input = !slices.ContainsFunc(p.words, func(word string) bool { return !strings.HasPrefix(word, "-") })
		p.env = carry.Without(env)
	case "sattach":
		p.input = true
		p.env = carry.Without(env)
	case "scancel":
		p.input = slices.ContainsFunc(p.words, func(word string) bool {
			return strings.HasPrefix(word, "--interactive") || strings.HasPrefix(word, "-") && strings.Contains(word, "i")
		})
		p.env = carry.Without(env)
	default:
		p.env = carry.Without(env)
	}
	if err != nil {
		p.cleanUp()
		return nil, err
	}
	p.env = append(p.env, Environment(s.cfg.Directory, s.cfg.SlurmConf)...)
	return p, nil
}

// Path is the PATH of every command.
func Path(directory string) string { return directory + ":" + searchPath }

// Environment is what every command of Slurm is given, and nothing of it is the user's.
func Environment(directory, slurmConf string) []string {
	env := []string{"PATH=" + Path(directory)}
	if slurmConf != "" {
		env = append(env, "SLURM_CONF="+slurmConf)
	}
	return env
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// onGateway are options that would run a program on the gateway, or look at one with its own loader, and the variables
// that stand for them.
var onGateway = map[string]string{
	"prolog": "SLURM_PROLOG", "epilog": "SLURM_EPILOG", "send-libs": "SLURM_SEND_LIBS", "bcast": "SLURM_BCAST",
}

// refuseOnGateway refuses those options.
func (p *plan) refuseOnGateway(parts []component, env []string) error {
	for _, name := range []string{"prolog", "epilog", "send-libs", "bcast"} {
		for _, c := range parts {
			value, given := c.last(name)
			if given && value != "none" && value != "no" {
				return p.refuse("--%s can't be used from a pod: it would run on the gateway, not in the pod", name)
			}
		}
		if value := environ.Get(env, onGateway[name]); value != "" && value != "none" && value != "no" {
			return p.refuse("%s=%s can't be used from a pod: it would run on the gateway, not in the pod", onGateway[name], value)
		}
	}
	return nil
}

// inserted puts further options behind those of each part, where they win.
func inserted(words []string, parts []component, further [][]string) []string {
	var out []string
	from := 0
	for i, c := range parts {
		at := c.rest
		if at > from && words[at-1] == "--" && !isValue(c, at-1) {
			at--
		}
		out = append(append(out, words[from:at]...), further[i]...)
		from = at
	}
	return append(out, words[from:]...)
}

// isValue says whether a word is an option's argument.
func isValue(c component, at int) bool {
	return slices.ContainsFunc(c.options, func(o option) bool { return o.at == at-1 && o.value == "--" })
}

func (p *plan) planCrontab() error {
	for _, word := range p.words {
		if word == "-l" || word == "-r" || word == "-V" || word == "--version" || word == "--help" {
			return nil
		}
	}
	return p.refuse("a crontab can't be edited from a pod; use scrontab on a login node (-l and -r work here)")
}
