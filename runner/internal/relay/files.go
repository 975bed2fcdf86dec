package relay

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"k8s-burst/runner/internal/carry"
	"k8s-burst/runner/internal/environ"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Most bytes of a file that travels, each as large as Slurm itself takes.
const (
	mostScript  = 4 << 20 // MAX_SCRIPT_SIZE
	mostEnvFile = 4 << 20
)

// fetch gets a file of the pod. The error is the pod's own.
func (s *session) fetch(path string, most uint64) (text []byte, mode os.FileMode, err error) {
	wanted := &pb.FileWanted{Path: []byte(path), Most: most}
	if err := s.send(&pb.FromGateway{Frame: &pb.FromGateway_FileWanted{FileWanted: wanted}}); err != nil {
		return nil, 0, err
	}
	for {
		var f pb.ToGateway
		if err := s.frames.Read(&f); err != nil {
			return nil, 0, err
		}
		c := f.GetFile()
		switch {
		case c == nil:
			continue // a signal before the command has started
		case c.GetErrno() != 0:
			return nil, 0, syscall.Errno(c.GetErrno())
		case uint64(len(text)+len(c.GetData())) > most:
			return nil, 0, syscall.EFBIG
		}
		text = append(text, c.GetData()...)
		if c.GetEnd() {
			return text, os.FileMode(c.GetMode()).Perm(), nil
		}
	}
}

// place gives the path on the gateway of a file of the pod: its own where the gateway has the same file, else that of a
// copy with the same name.
func (s *session) place(p *plan, path string, text []byte, mode os.FileMode) (string, error) {
	here := path
	if !filepath.IsAbs(here) {
		here = filepath.Join(p.dir, here)
	}
	if same, err := os.ReadFile(filepath.Clean(here)); err == nil && bytes.Equal(same, text) {
		return path, nil
	}
	dir, err := os.MkdirTemp(s.scratch(), "k8s-burst-")
	if err != nil {
		return "", err
	}
	p.remove = append(p.remove, dir)
	copied := filepath.Join(dir, filepath.Base(path))
	return copied, os.WriteFile(copied, text, mode|0o600)
}

func (s *session) scratch() string {
	if s.cfg.Scratch != "" {
		return s.cfg.Scratch
	}
	return "/tmp"
}

// planBatch prepares sbatch: its script travels, and so does the environment, by a file, so that nothing of it is needed
// in sbatch's own.
func (s *session) planBatch(p *plan, env []string) error {
	parts := parse("sbatch", p.words, s.takesArgument(p.path))
	last := parts[len(parts)-1]
	p.env = carry.Without(env)
	_, wrapped := parts[0].last("wrap")
	if last.rest < len(p.words) && !wrapped {
		path, err := s.script(p, p.words[last.rest], env)
		if err != nil {
			return err
		}
		p.words[last.rest] = path
	} else {
		p.input = !wrapped
	}
	file, err := s.environmentFile(p, parts, env)
	if err != nil {
		return err
	}
	words := []string{"--export-file=" + file}
	if bbf, given := parts[0].last("bbf"); given {
		placed, err := s.travel(p, bbf)
		if err != nil {
			return err
		}
		words = append(words, "--bbf="+placed)
	}
	if p.dir != string(p.command.GetCwd()) {
		if _, given := parts[0].last("chdir"); !given {
			words = append(words, "--chdir="+string(p.command.GetCwd()))
		}
	}
	further := make([][]string, len(parts))
	for i, c := range parts {
		more, err := s.nodeFiles(p, c)
		if err != nil {
			return err
		}
		further[i] = append(words[:len(words):len(words)], more...)
	}
	p.words = inserted(p.words, parts, further)
	return nil
}

// script finds a batch script as sbatch does: in the working directory, then in PATH.
func (s *session) script(p *plan, name string, env []string) (string, error) {
	candidates := []string{name}
	if !strings.ContainsRune(name, '/') {
		for _, dir := range filepath.SplitList(environ.Get(env, "PATH")) {
			candidates = append(candidates, filepath.Join(dir, name))
		}
	}
	for _, path := range candidates {
		text, mode, err := s.fetch(path, mostScript)
		switch {
		case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR):
			continue
		case err != nil && isErrno(err):
			return "", p.refuse("the batch script %s can't be read in the pod: %v", path, err)
		case err != nil:
			return "", err
		}
		return s.place(p, path, text, mode)
	}
	return "", &refusedError{"sbatch: error: Unable to open file " + name}
}

func isErrno(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// environmentFile writes what the job is to have: the caller's environment, or the file that the caller names for it.
func (s *session) environmentFile(p *plan, parts []component, env []string) (string, error) {
	given, ok := parts[0].last("export-file")
	var text []byte
	if ok {
		path := given
		if strings.Trim(given, "0123456789") == "" {
			path = "/proc/self/fd/" + given
		}
		var err error
		if text, _, err = s.fetch(path, mostEnvFile); err != nil {
			if isErrno(err) {
				return "", p.refuse("the environment file %s can't be read in the pod: %v", given, err)
			}
			return "", err
		}
	} else {
		for _, entry := range carry.Clean(env) {
			name, value, _ := strings.Cut(entry, "=")
			switch name {
			case "PATH":
				value = withoutStandIns(value)
			case "SLURM_SUBMIT_DIR":
				continue
			}
			text = append(text, name+"="+value+"\x00"...)
		}
	}
	text = append(text, "SLURM_SUBMIT_DIR="+string(p.command.GetCwd())+"\x00\x00"...)
	dir, err := os.MkdirTemp(s.scratch(), "k8s-burst-")
	if err != nil {
		return "", err
	}
	p.remove = append(p.remove, dir)
	file := filepath.Join(dir, "environment")
	return file, os.WriteFile(file, text, 0o600)
}

// withoutStandIns is a pod's PATH without what its supervisor has put first.
func withoutStandIns(path string) string {
	return strings.Join(slices.DeleteFunc(filepath.SplitList(path), func(dir string) bool { return dir == standInDirectory }), ":")
}

// planAllocate prepares salloc.
func (s *session) planAllocate(p *plan, env []string) error {
	return p.refuse("salloc can't be used from a pod; use sbatch, or srun within the job's own allocation")
}
