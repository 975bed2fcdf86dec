package supervise

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMembers(t *testing.T) {
	all := []process{
		{pid: 1, parent: 0, session: 1},
		{pid: 10, parent: 1, session: 10, tag: "3.0"},
		{pid: 11, parent: 10, session: 10, tag: "3.0"},
		{pid: 12, parent: 1, session: 12, tag: "3.0"},    // daemon: another session, another parent
		{pid: 13, parent: 10, session: 10},               // env -i
		{pid: 14, parent: 13, session: 14},               // setsid below it
		{pid: 15, parent: 1, session: 10},                // orphan of the session
		{pid: 16, parent: 10, session: 10, zombie: true}, // ended
		{pid: 20, parent: 1, session: 20, tag: "3.01"},   // another task: the tag is no prefix
		{pid: 21, parent: 20, session: 20, tag: "3.01"},  //
		{pid: 22, parent: 11, session: 10, tag: "35.0"},  // a step's task started from within this one
		{pid: 23, parent: 22, session: 10, tag: "35.0"},  //
		{pid: 30, parent: 0, session: 30},                // attach
		{pid: 31, parent: 1, session: 31, tag: "K8S_BURST_TASK=3.0"} /* a tag is a whole value */}
	if got, want := members(all, "3.0", 10), []int{10, 11, 12, 13, 14, 15}; !slices.Equal(got, want) {
		t.Errorf("3.0: %v, want %v", got, want)
	}
	if got, want := members(all, "35.0", 22), []int{22, 23}; !slices.Equal(got, want) {
		t.Errorf("35.0: %v, want %v", got, want)
	}
	if got := members(all[:1], "3.0", 10); len(got) != 0 {
		t.Errorf("a task that has ended: %v", got)
	}
}

func TestBelowReadsProc(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1/task/1/children", "7 ")
	write("1/task/3/children", "8 9 99\n")
	write("7/task/7/children", "10")
	write("7/stat", "7 (a) b (c)) S 1 6 4 0 -1")
	write("7/environ", "XK8S_BURST_TASK=no\x00K8S_BURST_TASK=3.0\x00A=1")
	write("8/stat", "8 (x) Z 1 6 4 0 -1")
	write("9/stat", "nonsense")
	write("10/stat", "10 (y) S 7 6 4 0 -1")
	write("20/stat", "20 (attach) S 0 20 20 0 -1")
	got := below(root, 1)
	want := []process{{pid: 7, parent: 1, session: 4, tag: "3.0"}, {pid: 8, parent: 1, session: 4, zombie: true},
		{pid: 10, parent: 7, session: 4}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}
