package receive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	then := time.Unix(1000000000, 0)
	if err := File(strings.NewReader("first"), path, Options{Mode: 0o750, Modified: then}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o750 || !info.ModTime().Equal(then) {
		t.Errorf("%v %v", info, err)
	}
	if err := File(strings.NewReader("second"), path, Options{Mode: 0o600}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	if err := File(iotest.ErrReader(errors.New("cut")), path, Options{Mode: 0o600, Force: true}); err == nil {
		t.Error("half a file was taken")
	}
	if text, _ := os.ReadFile(path); string(text) != "first" {
		t.Errorf("the file is %q", text)
	}
	if err := File(strings.NewReader("second"), path, Options{Mode: 0o600, Force: true}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "second" {
		t.Errorf("the file is %q", text)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
