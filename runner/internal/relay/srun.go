package relay

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/carry"
	"k8s-burst/runner/internal/environ"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// planRun prepares srun: what it starts gets the caller's environment and directory back from its launcher, and files that
// only the pod has are read and written there. elsewhere says that the gateway lacks the working directory.
func (s *session) planRun(p *plan, env []string, elsewhere bool) error {
	parts := parse("srun", p.words, s.takesArgument(p.path))
	if err := p.refuseOnGateway(parts, env); err != nil {
		return err
	}
	env, scripts, err := p.takeTaskScripts(parts, env)
	if err != nil {
		return err
	}
	parts = parse("srun", p.words, s.takesArgument(p.path))
	p.input = true
	// Whether the program is there is seen in the pod.
	env = slices.DeleteFunc(env, func(entry string) bool { return strings.HasPrefix(entry, "SLURM_TEST_EXEC=") })
	p.env = append(carry.Pack(env), scripts...)
	for i, entry := range p.env {
		if list, ok := strings.CutPrefix(entry, "SLURM_EXPORT_ENV="); ok {
			p.env[i] = "SLURM_EXPORT_ENV=" + carry.ExportList(list)
		}
	}
	cwd := ""
	if elsewhere {
		cwd = string(p.command.GetCwd())
	}
	further := make([][]string, len(parts))
	for i, c := range parts {
		words, dir, err := s.partOfRun(p, c, env)
		if err != nil {
			return err
		}
		if dir != "" {
			cwd = dir
		}
		further[i] = words
	}
	if cwd != "" {
		p.env = append(p.env, carry.Directory+"="+cwd)
	}
	if file := environ.Get(env, "SLURM_HOSTFILE"); file != "" {
		placed, err := s.travel(p, file)
		if err != nil {
			return err
		}
		p.env = append(slices.DeleteFunc(p.env, func(entry string) bool { return strings.HasPrefix(entry, "SLURM_HOSTFILE=") }),
			"SLURM_HOSTFILE="+placed)
	}
	p.words = inserted(p.words, parts, further)
	return nil
}

// taskScripts are srun's options that name a program to run before or after each task, which slurmstepd would do on the
// gateway: the variables that stand for them, and those that take them to the launchers of the step.
var taskScripts = []struct{ name, variable, carried string }{
	{"task-prolog", "SLURM_TASK_PROLOG", carry.TaskProlog},
	{"task-epilog", "SLURM_TASK_EPILOG", carry.TaskEpilog},
}

// takeTaskScripts takes those options out of the words and the environment, and gives what carries them.
func (p *plan) takeTaskScripts(parts []component, env []string) (left, scripts []string, err error) {
	drop := map[int]bool{}
	for _, script := range taskScripts {
		path := environ.Get(env, script.variable)
		env = environ.Without(env, script.variable)
		for i, c := range parts {
			given, ok := c.last(script.name)
			if i > 0 && (ok && given != path || !ok && path != "") {
				return nil, nil, p.refuse("--%s can't differ between the parts of a step from a pod", script.name)
			}
			if ok {
				path = given
			}
			for _, o := range c.options {
				if o.name == script.name {
					drop[o.at] = true
					drop[o.at+1] = drop[o.at+1] || !strings.Contains(p.words[o.at], "=")
				}
			}
		}
		if path != "" {
			scripts = append(scripts, script.carried+"="+path)
		}
	}
	var words []string
	for i, word := range p.words {
		if !drop[i] {
			words = append(words, word)
		}
	}
	p.words = words
	return env, scripts, nil
}

// partOfRun gives the options that must stand behind those of one part. dir is a working directory that only the pod has.
func (s *session) partOfRun(p *plan, c component, env []string) (words []string, dir string, err error) {
	if list, ok := c.last("export"); ok {
		words = append(words, "--export="+carry.ExportList(list))
	}
	if given, ok := c.last("chdir"); ok && !isDirectory(absolute(p.dir, given)) {
		dir = absolute(string(p.command.GetCwd()), given)
		words = append(words, "--chdir="+p.dir)
	}
	if more, err := s.nodeFiles(p, c); err != nil {
		return nil, "", err
	} else {
		words = append(words, more...)
	}
	if _, ok := c.last("multi-prog"); ok && c.rest < c.end {
		if p.words[c.rest], err = s.travel(p, p.words[c.rest]); err != nil {
			return nil, "", err
		}
	}
	for _, file := range []struct{ name, variable string }{
		{"input", "SLURM_STDINMODE"}, {"output", "SLURM_STDOUTMODE"}, {"error", "SLURM_STDERRMODE"},
	} {
		value, given := c.last(file.name)
		if !given {
			value = environ.Get(env, file.variable)
		}
		word, err := s.standardFile(p, c, file.name, value, env)
		if err != nil {
			return nil, "", err
		}
		if word != "" {
			words = append(words, word)
		}
	}
	if environ.Get(p.env, carry.Stderr) != "" {
		words = append(words, p.output("error", "/proc/self/fd/2", true))
	}
	return words, dir, nil
}

// nodeFiles lets files with node names travel: a value is such a file where it has a slash.
func (s *session) nodeFiles(p *plan, c component) (words []string, err error) {
	for _, name := range []string{"nodelist", "exclude", "nodefile"} {
		value, given := c.last(name)
		if !given || name != "nodefile" && !strings.ContainsRune(value, '/') {
			continue
		}
		placed, err := s.travel(p, value)
		if err != nil {
			return nil, err
		}
		words = append(words, "--"+name+"="+placed)
	}
	return words, nil
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// travel places a small file of the pod on the gateway. One that the pod lacks is left to the command to complain of.
func (s *session) travel(p *plan, path string) (string, error) {
	text, mode, err := s.fetch(path, mostScript)
	switch {
	case err == nil:
		return s.place(p, path, text, mode)
	case errors.Is(err, syscall.ENOENT):
		return path, nil
	case isErrno(err):
		return "", p.refuse("%s can't be read in the pod: %v", path, err)
	}
	return "", err
}

// standardFile decides where a task's standard file, as -i, -o and -e give it, is opened, and gives the option that says
// so to srun.
func (s *session) standardFile(p *plan, c component, name, value string, env []string) (word string, err error) {
	isInput := name == "input"
	switch {
	case value == "none":
		p.input = p.input && !isInput
		return "", nil
	case value == "" || value == "all" || strings.Trim(value, "0123456789") == "":
		return "", nil
	}
	base := string(p.command.GetCwd())
	if dir, ok := c.last("chdir"); ok {
		base = absolute(base, dir)
	}
	path, perTask := expand(absolute(base, value), env)
	same, err := s.isShared(filepath.Dir(path))
	switch {
	case err != nil:
		return "", err
	case same:
		p.input = p.input && !isInput
		return "", nil
	case perTask && isInput:
		return "", p.refuse("--input=%s: a file for each task must be in a directory that the gateway has too, and it lacks %s",
			value, filepath.Dir(path))
	case isInput:
		p.inputPath = path
		return "--input=all", nil
	}
	mode, given := c.last("open-mode")
	if !given {
		mode = environ.Get(env, "SLURM_OPEN_MODE")
	}
	appends := strings.HasPrefix(mode, "a")
	if perTask {
		return p.taskFile(c, name, absolute(base, value), appends, env)
	}
	return p.output(name, path, appends), nil
}

// output has the stand-in open a file, and gives the option that makes srun write to it.
func (p *plan) output(name, path string, appends bool) (word string) {
	for i, open := range p.outputs {
		if string(open.GetPath()) == path {
			return fmt.Sprintf("--%s=/proc/self/fd/%d", name, 3+i)
		}
	}
	p.outputs = append(p.outputs, &pb.OpenOutput{File: uint32(len(p.outputs) + 1), Path: []byte(path), Append: appends})
	return fmt.Sprintf("--%s=/proc/self/fd/%d", name, 2+len(p.outputs))
}

// taskFile has a file for each task opened in the pods, by the launchers of the step. What those have to say themselves,
// where standard error is such a file, goes to the caller's own.
func (p *plan) taskFile(c component, name, pattern string, appends bool, env []string) (word string, err error) {
	_, further := c.last("error")
	carried := []string{carry.Stdout}
	switch {
	case name == "error":
		carried = []string{carry.Stderr}
	case !further && environ.Get(env, "SLURM_STDERRMODE") == "":
		carried = append(carried, carry.Stderr)
	}
	for _, variable := range carried {
		entry := variable + "=" + map[bool]string{false: "w", true: "a"}[appends] + pattern
		if before := environ.Get(p.env, variable); before != "" && variable+"="+before != entry {
			return "", p.refuse("--%s can't differ between the parts of a step from a pod, where it is a file for each task", name)
		}
		p.env = append(environ.Without(p.env, variable), entry)
	}
	if name == "output" {
		return "--output=none", nil
	}
	return "", nil
}

// expand puts in what srun would for the job, as far as that is known before the step is made. perTask says that something
// is left which differs from task to task, or is not known yet.
func expand(path string, env []string) (expanded string, perTask bool) {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+1 == len(path) {
			out.WriteByte(path[i])
			continue
		}
		i++
		variable, known := map[byte]string{
			'j': "SLURM_JOB_ID", 'A': "SLURM_ARRAY_JOB_ID", 'a': "SLURM_ARRAY_TASK_ID", 'x': "SLURM_JOB_NAME", 'u': "USER",
		}[path[i]]
		switch {
		case path[i] == '%':
			out.WriteByte('%')
		case known:
			out.WriteString(environ.Get(env, variable))
		default:
			out.WriteString(path[i-1 : i+1])
			perTask = true
		}
	}
	return out.String(), perTask
}

// isShared says whether the gateway sees the pod's directory at the same path: same number and same time of change.
func (s *session) isShared(dir string) (bool, error) {
	var here unix.Stat_t
	if unix.Stat(dir, &here) != nil {
		return false, nil
	}
	there, err := s.look(dir)
	if err != nil {
		return false, err
	}
	return there.GetErrno() == 0 && there.GetInode() == here.Ino && there.GetChangedNs() == here.Ctim.Nano(), nil
}

// look asks what a path is in the pod.
func (s *session) look(path string) (*pb.PathInfo, error) {
	if err := s.send(&pb.FromGateway{Frame: &pb.FromGateway_PathWanted{PathWanted: &pb.PathWanted{Path: []byte(path)}}}); err != nil {
		return nil, err
	}
	for {
		var f pb.ToGateway
		if err := s.frames.Read(&f); err != nil {
			return nil, err
		}
		if there := f.GetPath(); there != nil {
			return there, nil
		}
	}
}
