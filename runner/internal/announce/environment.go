package announce

import (
	"path"
	"regexp"
)

// What each of Slurm's three programs calls the variables that stand for options.
var prefixes = map[string]string{"sbatch": "SBATCH_", "salloc": "SALLOC_", "srun": "SLURM_"}

// The variables that say where a job is queued, for how long and at whose cost.
var variables = []struct{ name, option string }{
	{"ACCOUNT", "account"}, {"PARTITION", "partition"}, {"QOS", "qos"}, {"TIMELIMIT", "time"},
}

// What needs no quotes in a directive.
var plain = regexp.MustCompile(`^[A-Za-z0-9_.,:+@-]+$`)

// Environment gives what the environment of a command line says instead of options, as directives: Slurm takes them
// after those of the script, and before the words of the command line.
func Environment(line []string, lookup func(string) (string, bool)) (found []string) {
	if len(line) == 0 {
		return nil
	}
	prefix, ok := prefixes[path.Base(line[0])]
	if !ok {
		return nil
	}
	for _, variable := range variables {
		if value, ok := lookup(prefix + variable.name); ok && plain.MatchString(value) {
			found = append(found, directive+" --"+variable.option+"="+value)
		}
	}
	return found
}
