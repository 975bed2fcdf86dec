// Package install fills a pod's emptyDir, as the job's user, in an init container: this program itself, also under
// the names of Slurm's commands, passwd, group
// and hosts files that name the user and the nodes, and empty directories for the supervisor. Doing it again changes
// nothing else.
package install

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s-burst/runner/internal/names"
)

// Files are the lines for the three files, in their usual formats.
type Files struct{ Passwd, Group, Hosts []string }

// What every image has, so that names of files that belong to nobody here still print.
var (
	basePasswd = []string{"root:x:0:0:root:/root:/sbin/nologin", "nobody:x:65534:65534:nobody:/:/sbin/nologin"}
	baseGroup  = []string{"root:x:0:", "nogroup:x:65534:"}
	baseHosts  = []string{"127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"}
)

// Install fills dir.
func Install(self, dir string, files Files) error {
	if err := files.check(); err != nil {
		return err
	}
	for name, mode := range map[string]os.FileMode{"bin": 0o755, "etc": 0o755, "run": 0o700, "spool": 0o700} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	if err := copyFile(self, names.Binary(dir), 0o755); err != nil {
		return err
	}
	for _, name := range names.Commands {
		if err := link(names.Binary(dir), filepath.Join(names.StandIns(dir), name)); err != nil {
			return err
		}
	}
	for name, lines := range map[string][]string{
		"passwd": append(basePasswd, files.Passwd...),
		"group":  append(baseGroup, files.Group...),
		"hosts":  append(baseHosts, files.Hosts...),
	} {
		text := strings.NewReader(strings.Join(lines, "\n") + "\n")
		if err := replace(filepath.Join(dir, "etc", name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (f Files) check() error {
	for _, line := range f.Passwd {
		if err := fields("passwd", line, 7); err != nil {
			return err
		}
	}
	for _, line := range f.Group {
		if err := fields("group", line, 4); err != nil {
			return err
		}
	}
	for _, line := range f.Hosts {
		words := strings.Fields(line)
		if len(words) < 2 || strings.ContainsAny(line, "\n\r#") {
			return fmt.Errorf("hosts line %q: an address and names are due", line)
		}
		if _, err := netip.ParseAddr(words[0]); err != nil {
			return fmt.Errorf("hosts line %q: %w", line, err)
		}
	}
	return nil
}

func fields(file, line string, want int) error {
	if strings.ContainsAny(line, "\n\r") || strings.Count(line, ":") != want-1 || strings.HasPrefix(line, ":") {
		return fmt.Errorf("%s line %q: %d fields are due", file, line, want)
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return replace(to, in, mode)
}

// link gives a file one more name: a hard link, because a name that is mounted alone, elsewhere, must not lead out of its
// mount.
func link(file, name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Link(file, name)
}

// replace writes a new file and gives it the name: one that runs, or is mounted, is not written to.
func replace(path string, text io.Reader, mode os.FileMode) error {
	out, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) // gone already after the rename
	_, err = io.Copy(out, text)
	if err == nil {
		err = out.Chmod(mode)
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(out.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
