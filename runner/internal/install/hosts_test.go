package install

import (
	"os"
	"path/filepath"
	"testing"
)

func hostsFile(t *testing.T, text string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "etc", "hosts")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

const base = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

// The file is mounted by its inode, what a user added stays, and addresses that changed are replaced.
func TestHostsInPlace(t *testing.T) {
	dir, path := hostsFile(t, base+"10.0.0.1 k8s-0\n")
	mounted, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	if err := Hosts(dir, []string{"10.0.0.1=k8s-0", "10.0.0.2=k8s-1"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "10.9.9.9 mine\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Hosts(dir, []string{"10.0.0.7=k8s-0", "fd00::2=k8s-1"}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4096)
	n, err := mounted.ReadAt(got, 0)
	if n == 0 {
		t.Fatal(err)
	}
	want := base + "10.0.0.7 k8s-0\nfd00::2 k8s-1\n10.9.9.9 mine\n"
	if string(got[:n]) != want {
		t.Errorf("the mounted file holds %q, not %q", got[:n], want)
	}
}

// Whoever gives no address, or a line within a name, changes nothing.
func TestHostsRefusesWhatIsNoAddress(t *testing.T) {
	for _, pair := range []string{"k8s-0", "=k8s-0", "10.0.0.1=", "10.0.0.1=a\n10.0.0.2 b"} {
		dir, path := hostsFile(t, base)
		if err := Hosts(dir, []string{pair}); err == nil {
			t.Errorf("%q was taken", pair)
		}
		if text, _ := os.ReadFile(path); string(text) != base {
			t.Errorf("%q left %q", pair, text)
		}
	}
}
