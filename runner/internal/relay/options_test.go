package relay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// show is a command line as it was understood: options with their values, then what is left.
func show(command, line string) string {
	words := strings.Fields(line)
	var all []string
	for _, c := range parse(command, words, func(name string) bool { return name == "container-image" }) {
		var given []string
		for _, o := range c.options {
			given = append(given, fmt.Sprintf("%s=%s", o.name, o.value))
		}
		all = append(all, strings.Join(given, " ")+" | "+strings.Join(words[c.rest:c.end], " "))
	}
	return strings.Join(all, " : ")
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ command, line, want string }{
		{"srun", "hostname -s", " | hostname -s"},
		{"srun", "-n2 -N 1 --mem=5G -lu prog -n 3", "ntasks=2 nodes=1 mem=5G label= unbuffered= | prog -n 3"},
		{"srun", "-K1 -luo out.txt -x../bad a b", "kill-on-bad-exit=1 label= unbuffered= output=out.txt exclude=../bad | a b"},
		{"srun", "-K prog", "kill-on-bad-exit= | prog"},
		{"srun", "--pty bash -i", "pty= | bash -i"},
		{"srun", "--cpu_bind cores --tasks-per-node 4 x", "cpu_bind=cores tasks-per-node=4 | x"},
		{"srun", "--ntasks-per-n 4 x", "ntasks-per-node=4 | x"},
		{"srun", "--container-image img prog", "container-image=img | prog"},
		{"srun", "--container-image=img prog", "container-image=img | prog"},
		{"srun", "--some-flag prog", "some-flag= | prog"},
		{"srun", "--k8s-burst prog", "k8s-burst= | prog"},
		{"srun", "-n1 -- -odd", "ntasks=1 | -odd"},
		{"srun", "-n1 a -x : -n 2 -i none b : c", "ntasks=1 | a -x : ntasks=2 input=none | b :  | c"},
		{"srun", "-n", " | "},
		{"sbatch", "-W -o out job.sh -W", "wait= output=out | job.sh -W"},
		{"sbatch", "--wrap hostname -a1-3", "wrap=hostname array=1-3 | "},
		{"sbatch", "-N1 : -N2 job.sh x", "nodes=1 |  : nodes=2 | job.sh x"},
		{"salloc", "-N1 -K bash", "nodes=1 kill-command= | bash"},
	} {
		if got := show(c.command, c.line); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.command, c.line, got, c.want)
		}
	}
}

func TestInserted(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"-n1 prog -x", "-n1 A prog -x"},
		{"-n1 -- prog", "-n1 A -- prog"},
		{"-n1 a : -n2 b", "-n1 A a : -n2 B b"},
		{"", "A"},
	} {
		words := strings.Fields(c.line)
		if got := strings.Join(inserted(words, parse("srun", words, nil), [][]string{{"A"}, {"B"}}), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.line, got, c.want)
		}
	}
}

func TestPluginOptions(t *testing.T) {
	found := pluginOptions("Options provided by plugins:\n      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH\n      --mounts=SRC:DST  x\n" +
		"      --k8s-burst=[auto|now|never]\n      --flag  text\n")
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, []string{"container-image", "mounts"}) {
		t.Errorf("found %v", got)
	}
}

// --task-prolog and --task-epilog do not reach the real srun, whatever way they are given.
func TestTaskScripts(t *testing.T) {
	for _, c := range []struct{ line, env, words, left, scripts, refused string }{
		{"-n1 prog --task-prolog=x", "A=1", "-n1 prog --task-prolog=x", "A=1", "", ""},
		{"-n1 --task-prolog=/p -l prog", "A=1", "-n1 -l prog", "A=1", "SLURM_K8S_BURST_TASK_PROLOG=/p", ""},
		{"--task-p /p --task-epilog /e prog", "", "prog", "", "SLURM_K8S_BURST_TASK_PROLOG=/p SLURM_K8S_BURST_TASK_EPILOG=/e", ""},
		{"--task-prolog=/q --task-prolog=/p prog", "SLURM_TASK_PROLOG=/r B=2", "prog", "B=2", "SLURM_K8S_BURST_TASK_PROLOG=/p", ""},
		{"prog", "SLURM_TASK_EPILOG=/e B=2", "prog", "B=2", "SLURM_K8S_BURST_TASK_EPILOG=/e", ""},
		{"--task-prolog= prog", "SLURM_TASK_PROLOG=/r", "prog", "", "", ""},
		{"--task-prolog=/p a : --task-prolog=/p b", "", "a : b", "", "SLURM_K8S_BURST_TASK_PROLOG=/p", ""},
		{"--task-prolog=/p a : b", "", "", "", "", "--task-prolog can't differ between the parts of a step"},
		{"a : --task-epilog=/p b", "", "", "", "", "--task-epilog can't differ between the parts of a step"},
	} {
		p := &plan{name: "srun", words: strings.Fields(c.line)}
		left, scripts, err := p.takeTaskScripts(parse("srun", p.words, nil), strings.Fields(c.env))
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v", c.line, err)
			}
			continue
		}
		for _, one := range [][2]string{
			{strings.Join(p.words, " "), c.words}, {strings.Join(left, " "), c.left}, {strings.Join(scripts, " "), c.scripts},
		} {
			if err != nil || one[0] != one[1] {
				t.Errorf("%s: got %q, want %q (%v)", c.line, one[0], one[1], err)
			}
		}
	}
}
