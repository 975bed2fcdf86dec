package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a/prog", "b/prog", "c/prog/x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{fmt.Sprintf("PATH=%s/c::%s/b:%s/a", dir, dir, dir)}
	for _, c := range []struct{ name, want string }{
		{"/bin/x", "/bin/x"}, {"./prog", dir + "/./prog"}, {"prog", dir + "/b/prog"}, {"none", "none"},
	} {
		if got := resolve(c.name, env); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestExecFailure(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/shell -x\nexit\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		err  error
		want string
	}{
		{"none", syscall.ENOENT, "execve(): none: No such file or directory"},
		{"/etc/passwd", syscall.EACCES, "execve(): /etc/passwd: Permission denied"},
		{script, syscall.ENOENT, "execve(): bad interpreter(/no/such/shell -x): No such file or directory"},
	} {
		got := execFailure(c.path, c.err)
		if got.GetMessage() != c.want || got.GetErrno() != uint32(c.err.(syscall.Errno)) {
			t.Errorf("got %v, want %s", got, c.want)
		}
	}
}
