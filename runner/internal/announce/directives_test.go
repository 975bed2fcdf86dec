package announce

import (
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
)

func TestDirectives(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := write("job.sh", "#!/bin/bash\n# hello\n#SBATCH -n 4\n\n#SBATCH --time=1:00\necho\n#SBATCH --late\n")
	other := write("data", "#SBATCH -n 9\n")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		line []string
		want []string
	}{
		{"those in front of the first command", []string{"sbatch", "-p", "gpu", script}, []string{"#SBATCH -n 4", "#SBATCH --time=1:00"}},
		{"a file that is no script is no script", []string{"sbatch", "-o", other, script, "arg"}, []string{"#SBATCH -n 4", "#SBATCH --time=1:00"}},
		{"the program itself is none", []string{script, "-n", "4"}, nil},
		{"neither is a pipe, a directory, or nothing", []string{"sbatch", pipe, dir, filepath.Join(dir, "away")}, nil},
		{"no command line at all", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Directives(c.line); !reflect.DeepEqual(got, c.want) {
				t.Errorf("Directives(%q) = %q, want %q", c.line, got, c.want)
			}
		})
	}
}
