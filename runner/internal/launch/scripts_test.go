package launch

import (
	"slices"
	"testing"
)

// What slurmstepd makes of a TaskProlog's output.
func TestAfterProlog(t *testing.T) {
	env := []string{"A=1", "B=2", "AB=3"}
	for _, c := range []struct {
		printed string
		env     []string
		say     string
	}{
		{"", env, ""},
		{"export A=one two \nexport C=", []string{"B=2", "AB=3", "A=one two ", "C="}, ""},
		{"export  B = x=y\n", []string{"A=1", "AB=3", "B= x=y"}, ""},
		{"unset A \nunset no-such\n", []string{"B=2", "AB=3"}, ""},
		{"print  hello  you\nprint\nother\nprint end", env, "hello  you\nend\n"},
		{" export A=2\nexport A\nexport =3\nunset\nunset \nexporting A=3\n", env, ""},
	} {
		got, say := afterProlog(env, c.printed)
		if !slices.Equal(got, c.env) || say != c.say {
			t.Errorf("%q: got %q and %q", c.printed, got, say)
		}
	}
	if !slices.Equal(env, []string{"A=1", "B=2", "AB=3"}) {
		t.Errorf("the environment given was changed: %q", env)
	}
}

// The names of files for each task.
func TestTaskFile(t *testing.T) {
	env := []string{"SLURM_PROCID=3", "SLURM_NODEID=1", "SLURMD_NODENAME=k8s-1", "SLURM_STEP_ID=2", "SLURM_JOB_ID=7", "SLURM_JOB_NAME=a b"}
	for pattern, want := range map[string]string{
		"out-%t": "out-3", "%4t.%n": "0003.1", "%N_%J%%": "k8s-1_7.2%", "%x-%j-%s": "a b-7-2", "%q%": "%q%", "%99t": "0000000003", "%5": "%5",
		"%5N": "k8s-1", "plain": "plain", "": "",
	} {
		if got := taskFile(pattern, env); got != want {
			t.Errorf("%q: got %q, want %q", pattern, got, want)
		}
	}
}
