package carry

import (
	"slices"
	"strings"
	"testing"
)

var pod = []string{
	"HOME=/home/alice", "PATH=/k8s-burst/bin:/opt/x/bin", "LD_PRELOAD=/tmp/x.so", "LD_LIBRARY_PATH=/opt/x/lib", "EMPTY=",
	"BASH_FUNC_f%%=() { :; }", "PYTHONPATH=a=b", "SLURM_CONF=/tmp/slurm.conf", "SLURM_CONF_SERVER=evil", "SLURM_JOB_ID=7",
	"GCONV_PATH=/tmp", "LUA_CPATH=/tmp/?.so", "HWLOC_PLUGINS_PATH=/tmp", "K8S_BURST_TASK=batch",
	"K8S_BURST_VAR_LD_AUDIT=/stale", "SLURM_K8S_BURST_CWD=/stale", "SLURM_K8S_BURST_STDERR=wstale", "=nameless", "wordless",
}

// What reaches the command says nothing of what code it loads or which Slurm it talks to.
func TestPackHidesWhatLoadsCode(t *testing.T) {
	for _, entry := range Pack(pod) {
		name, _, _ := strings.Cut(entry, "=")
		if Hidden(name) || matches([]string{"SLURM_CONF*", "K8S_BURST_TASK", "LD_*"}, name) || name == Directory {
			t.Errorf("%s reaches the command", entry)
		}
	}
	if got, want := Without(pod), []string{"HOME=/home/alice", "EMPTY=", "SLURM_JOB_ID=7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the caller had comes back, and what the gateway had in its place goes.
func TestUnpackRestores(t *testing.T) {
	step := append(Pack(pod), "PATH=/site/bin:/usr/bin", "PYTHONPATH=prolog", "SLURM_CONF=/etc/slurm/slurm.conf", "SLURM_STEP_ID=1")
	got, directory := Unpack(step, "/usr/bin")
	if directory != "" {
		t.Errorf("directory %q", directory)
	}
	for _, want := range []string{"PATH=/site/bin:/k8s-burst/bin:/opt/x/bin", "LD_PRELOAD=/tmp/x.so", "LD_LIBRARY_PATH=/opt/x/lib", "PYTHONPATH=prolog",
		"BASH_FUNC_f%%=() { :; }", "SLURM_STEP_ID=1", "HOME=/home/alice", "EMPTY="} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, entry := range got {
		if strings.HasPrefix(entry, Prefix) || entry == "PYTHONPATH=a=b" || strings.Contains(entry, "stale") {
			t.Errorf("%s is left", entry)
		}
	}
	got, directory = Unpack([]string{"PWD=/", Directory + "=/tmp/only here", Stdout + "=wfile", TaskProlog + "=/p", "A=b"}, "/usr/bin")
	if want := []string{"A=b", "PWD=/tmp/only here"}; directory != "/tmp/only here" || !slices.Equal(got, want) {
		t.Errorf("got %q in %q", got, directory)
	}
}

func TestExportList(t *testing.T) {
	if got := ExportList("ALL,PATH,HOME,LD_PRELOAD=/x,A=PATH"); got != "ALL,K8S_BURST_VAR_PATH,HOME,K8S_BURST_VAR_LD_PRELOAD=/x,A=PATH" {
		t.Errorf("got %s", got)
	}
}
