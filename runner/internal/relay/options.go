package relay

import (
	"maps"
	"slices"
	"strings"
)

// table lists the options of salloc, sbatch and srun in every Slurm from 23.11 to 26.05: a name, `=` with an argument or
// `?` with an optional one, after a slash its letter, and after a colon the commands that have it, if not all three:
// a(llocate), b(atch), r(un).
const table = `
accel-bind=:r account=/A acctg-freq= array=/a:b async:r autocomplete= batch=:b bb= bbf= bcast?:r
bcast-exclude=:r begin=/b bell:a chdir=/D cluster= cluster-constraint= clusters=/M comment= compress?:r
consolidate-segments constraint=/C container= container-id= container-type= context= contiguous core-spec=/S
cores-per-socket= cpu-bind=:r cpu-freq= cpu_bind=:r cpus-per-gpu= cpus-per-task=/c deadline= debugger-test:r
delay-boot= dependency=/d disable-status/X:r distribution=/m epilog=:r error=/e:br exact:r exclude=/x exclusive?
export=:br export-file=:b external:b external-launcher?:r extra= extra-node-info=/B get-user-env:b
get-user-env?:a gid=:b gpu-bind= gpu-freq= gpus=/G gpus-per-node= gpus-per-socket= gpus-per-task= gres=
gres-flags= help/h het-group=:r hint= hold/H ignore-pbs:b ignore-signals=:r immediate?/I:ar input=/i:br
interactive:r job-name=/J jobid=:r kill-command?/K:a kill-on-bad-exit?/K:r kill-on-invalid-dep=:b label/l:r
licenses=/L mail-type= mail-user= mcs-label= mem= mem-bind= mem-per-cpu= mem-per-gpu= mem-update= mincpus=
mpi=:r msg-timeout=:r multi-prog:r network= nice? no-allocate/Z:r no-bell:a no-kill?/k no-requeue:b no-shell:a
nodefile=/F nodelist=/w nodes=/N ntasks=/n ntasks-per-core= ntasks-per-gpu= ntasks-per-node= ntasks-per-socket=
ntasks-per-tres= oom-kill-step? open-mode=:br output=/o:br overcommit/O overlap?:r oversubscribe/s pack-group=:r
parsable:br partition=/p power= prefer= preserve-env/E:r priority= profile= prolog=:r propagate?:br pty?:r
qos=/q quiet/Q quit-on-interrupt:r reboot relative=/r:r requeue?:b reservation= resources= resv-ports? segment=
send-libs?:r signal= slurmd-debug=:r sockets-per-node= spread-job spread-segments stepmgr switches=
task-epilog=:r task-prolog=:r tasks-per-node= test-only:br thread-spec= threads=/T:r threads-per-core= time=/t
time-min= tmp= treewidth=:r tres-bind= tres-per-task= uid=:b unbuffered/u:r usage use-min-nodes verbose/v
version/V wait/W:b wait=/W:r wait-all-nodes=:ab wait-for-children:r wckey= whole:r wrap=:b x11?:ar
`

// spec is one option.
type spec struct {
	name     string
	argument byte // '=', '?' or 0
	letter   byte
}

// specs are the options of one command.
type specs struct {
	long  map[string]spec
	short map[byte]spec
}

func specsOf(command string) specs {
	return specsIn(table, map[string]string{"salloc": "a", "sbatch": "b", "srun": "r"}[command])
}

// specsIn are the options in a table that the command of a letter has.
func specsIn(table, code string) specs {
	s := specs{map[string]spec{}, map[byte]spec{}}
	for _, word := range strings.Fields(table) {
		word, commands, some := strings.Cut(word, ":")
		if some && !strings.Contains(commands, code) {
			continue
		}
		name, letter, _ := strings.Cut(word, "/")
		option := spec{name: strings.TrimRight(name, "=?")}
		if option.name != name {
			option.argument = name[len(name)-1]
		}
		s.long[option.name] = option
		if letter != "" {
			option.letter = letter[0]
			s.long[option.name] = option
			s.short[option.letter] = option
		}
	}
	return s
}

// option is one that was given.
type option struct {
	name  string
	value string
	at    int // the word that it begins in
}

// component is one part of a command line: a heterogeneous job's or step's parts are separated by a colon.
type component struct {
	options []option
	rest    int // the first word that is no option
	end     int // one past its last word
}

// last is the value of the last option of this name, as the last one counts.
func (c component) last(name string) (string, bool) {
	for _, o := range slices.Backward(c.options) {
		if o.name == name {
			return o.value, true
		}
	}
	return "", false
}

// parse goes through a command line as the command's own getopt_long does. words are without the command's name. plugins
// tells, of an option that Slurm does not have, whether it takes an argument: it is one of a site's plugin.
func parse(command string, words []string, plugins func(name string) bool) []component {
	known := specsOf(command)
	var all []component
	for from := 0; ; {
		c := component{rest: from}
		for c.rest < len(words) {
			word := words[c.rest]
			if word == "--" {
				c.rest++
				break
			}
			if len(word) < 2 || word[0] != '-' {
				break
			}
			var used int
			if strings.HasPrefix(word, "--") {
				used = c.long(known, words[c.rest:], c.rest, plugins)
			} else {
				used = c.short(known, words[c.rest:], c.rest)
			}
			c.rest = min(c.rest+used, len(words))
		}
		c.end = len(words)
		if i := slices.Index(words[c.rest:], ":"); i >= 0 {
			c.end = c.rest + i
		}
		all = append(all, c)
		if c.end == len(words) {
			return all
		}
		from = c.end + 1
	}
}

// operandsOf goes through the command line of a command that takes options anywhere.
func operandsOf(known specs, words []string) (c component, operands []string) {
	for at := 0; at < len(words); {
		word := words[at]
		switch {
		case word == "--":
			return c, append(operands, words[at+1:]...)
		case len(word) < 2 || word[0] != '-':
			operands = append(operands, word)
			at++
		case strings.HasPrefix(word, "--"):
			at += c.long(known, words[at:], at, nil)
		default:
			at += c.short(known, words[at:], at)
		}
	}
	return c, operands
}

// long takes one --name, --name=value or --name value, or a beginning of a name that leaves no doubt.
func (c *component) long(known specs, words []string, at int, plugins func(string) bool) (used int) {
	name, value, has := strings.Cut(words[0][2:], "=")
	option, ok := known.long[name]
	if !ok {
		option, ok = known.abbreviated(name)
	}
	if !ok {
		option = spec{name: name}
		if !has && plugins != nil && plugins(name) {
			option.argument = '='
		}
	}
	return c.take(option, value, has, words, at)
}

func (s specs) abbreviated(name string) (spec, bool) {
	var found []string
	for _, full := range slices.Sorted(maps.Keys(s.long)) {
		if strings.HasPrefix(full, name) {
			found = append(found, full)
		}
	}
	if len(found) != 1 || name == "" {
		return spec{}, false
	}
	return s.long[found[0]], true
}

func (c *component) take(o spec, value string, has bool, words []string, at int) (used int) {
	if o.argument == '=' && !has {
		if len(words) < 2 {
			return 1 // the command itself complains
		}
		c.options = append(c.options, option{o.name, words[1], at})
		return 2
	}
	c.options = append(c.options, option{o.name, value, at})
	return 1
}

// short takes -x, -xVALUE, -x VALUE, and several letters in one word.
func (c *component) short(known specs, words []string, at int) (used int) {
	word := words[0]
	for i := 1; i < len(word); i++ {
		o, ok := known.short[word[i]]
		rest := word[i+1:]
		switch {
		case !ok:
			continue // the command itself complains
		case o.argument == 0:
			c.options = append(c.options, option{o.name, "", at})
			continue
		}
		return c.take(o, rest, rest != "" || o.argument == '?', words, at)
	}
	return 1
}

// pluginOptions finds the options that must have an argument. Slurm prints --name=WORD for those of plugins that may have
// one; where it is optional, by custom all of WORD is in brackets.
func pluginOptions(help string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(help) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if option, ok := strings.CutPrefix(word, "--"); ok {
			if name, argument, ok := strings.Cut(option, "="); ok && !bracketed(argument) {
				found[name] = true
			}
		}
	}
	return found
}

func bracketed(word string) bool {
	return strings.HasPrefix(word, "[") && strings.IndexByte(word, ']') == len(word)-1
}
