// Package carry takes a task's environment past one of Slurm's commands on the gateway.
//
// The command runs with the caller's environment, because Slurm's commands read their options from it and pass it on to
// what they start. But what says which code a program loads (LD_PRELOAD, PATH, …) or which Slurm it talks to is the
// gateway's own. Such variables travel under names that mean nothing to anybody (Pack), and get their own names back in the
// pod (Unpack). It is pure.
package carry

import (
	"slices"
	"strings"
)

const (
	// Prefix is put before the name of a variable that is none of the command's business.
	Prefix = "K8S_BURST_VAR_"
	// Directory carries the working directory of the caller where the gateway has none of that name. srun passes on what
	// begins with SLURM even with --export=NONE.
	Directory = "SLURM_K8S_BURST_CWD"
	// TaskProlog and TaskEpilog carry srun's options of these names: the launchers of the step have them run in the pod.
	TaskProlog = "SLURM_K8S_BURST_TASK_PROLOG"
	TaskEpilog = "SLURM_K8S_BURST_TASK_EPILOG"
	// Stdout and Stderr carry srun's --output and --error where they are a file for each task, in the pod: "w" or "a" for
	// its open mode, and the pattern.
	Stdout = "SLURM_K8S_BURST_STDOUT"
	Stderr = "SLURM_K8S_BURST_STDERR"
)

// toLauncher are variables for the launchers of the step, not for their tasks.
var toLauncher = []string{Directory, TaskProlog, TaskEpilog, Stdout, Stderr}

// hidden are the names of variables that the command must not see, and prefixes of such, with a star.
var hidden = []string{
	// The dynamic loader and the C library.
	"LD_*", "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "HOSTALIASES", "LOCALDOMAIN",
	"RES_OPTIONS", "RESOLV_*", "NIS_PATH", "MALLOC_*", "PROFIL_*", "SEGFAULT_*", "PCPROFILE_*",
	// Where programs are looked for, and what shells and interpreters read before a site's own scripts.
	"PATH", "CDPATH", "IFS", "ENV", "BASH_*", "BASHOPTS", "SHELLOPTS", "PS4", "ZDOTDIR", "LUA_*", "PYTHON*", "PERL*",
	"RUBY*", "NODE_*", "JAVA_*", "JDK_*", "_JAVA_*", "TCL*", "R_*",
	// Libraries that load plugins or settings of their own, as Slurm's plugins use them.
	"HWLOC_*", "PMIX_*", "PRTE_*", "OMPI_*", "UCX_*", "OPENSSL_*", "SSL_*", "KRB5*", "GSS_*", "CURL_*", "NSS_*", "MUNGE_*",
	"TERMINFO*", "TERMCAP", "INPUTRC", "READLINE_*", "EDITOR", "VISUAL", "PAGER", "CUDA_INJECTION*", "NVML_*",
}

// dropped are variables that mean nothing where they would arrive.
var dropped = append([]string{"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_SACK_*", Prefix + "*", "K8S_BURST_TASK"}, toLauncher...)

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		prefix, star := strings.CutSuffix(pattern, "*")
		return star && strings.HasPrefix(name, prefix) || name == pattern
	})
}

// Hidden says whether a variable travels under another name.
func Hidden(name string) bool { return matches(hidden, name) }

// Pack is the environment for the command: what is hidden has another name.
func Pack(env []string) []string {
	out := make([]string, 0, len(env)+8)
	for _, entry := range env {
		name, _, ok := strings.Cut(entry, "=")
		switch {
		case !ok || name == "" || matches(dropped, name):
		case Hidden(name):
			out = append(out, Prefix+entry)
		default:
			out = append(out, entry)
		}
	}
	return out
}

// Without is the environment for a command that passes nothing on: what is hidden is left out.
func Without(env []string) []string {
	return slices.DeleteFunc(Pack(env), func(entry string) bool { return strings.HasPrefix(entry, Prefix) })
}

// Clean is the environment as the caller has it, without what is ours.
func Clean(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "" || matches(dropped, name)
	})
}

// Unpack gives hidden variables their names back. What slurmstepd or a site's TaskProlog has set under such a name stays
// (PMIX_RANK is the new step's); only in PATH, which the command had from the gateway, the caller's stands for the
// gateway's. directory is the caller's, empty where the gateway has it too.
func Unpack(env []string, gatewayPath string) (out []string, directory string) {
	given, path := map[string]bool{}, ""
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		given[name] = true
		if name == Prefix+"PATH" {
			path = value
		}
	}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		hidden := strings.TrimPrefix(name, Prefix)
		switch {
		case name == Directory:
			directory = value
		case slices.Contains(toLauncher, name):
		case name == "PATH" && given[Prefix+"PATH"]:
			out = append(out, "PATH="+strings.Replace(value, gatewayPath, path, 1))
		case hidden == name:
			out = append(out, entry)
		case !given[hidden]:
			out = append(out, hidden+"="+value)
		}
	}
	if directory != "" {
		out = slices.DeleteFunc(out, func(entry string) bool { return strings.HasPrefix(entry, "PWD=") })
		out = append(out, "PWD="+directory)
	}
	return out, directory
}

// ExportList renames the hidden variables in a list as --export takes it: NAME and NAME=value, separated by commas.
func ExportList(list string) string {
	words := strings.Split(list, ",")
	for i, word := range words {
		if name, _, _ := strings.Cut(word, "="); Hidden(name) {
			words[i] = Prefix + word
		}
	}
	return strings.Join(words, ",")
}
