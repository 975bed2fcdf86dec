package announce

import (
	"reflect"
	"testing"
)

func TestEnvironment(t *testing.T) {
	environment := map[string]string{
		"SBATCH_PARTITION": "gpu,cpu", "SBATCH_TIMELIMIT": "1-0:30", "SBATCH_ACCOUNT": "a b", "SBATCH_QOS": "",
		"SALLOC_ACCOUNT": "chem", "SLURM_QOS": "long", "SLURM_JOB_PARTITION": "other",
	}
	lookup := func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}
	for _, c := range []struct {
		name string
		line []string
		want []string
	}{
		{"sbatch's own, what needs no quotes", []string{"/usr/bin/sbatch", "x"}, []string{"#SBATCH --partition=gpu,cpu", "#SBATCH --time=1-0:30"}},
		{"salloc's own", []string{"salloc"}, []string{"#SBATCH --account=chem"}},
		{"srun's own", []string{"srun", "true"}, []string{"#SBATCH --qos=long"}},
		{"another program's", []string{"python3", "sbatch"}, nil},
		{"no command line at all", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Environment(c.line, lookup); !reflect.DeepEqual(got, c.want) {
				t.Errorf("Environment(%q) = %q, want %q", c.line, got, c.want)
			}
		})
	}
}
