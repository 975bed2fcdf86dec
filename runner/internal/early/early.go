// Package early remembers the limit of open files that this process was started with.
//
// Go's syscall package raises the soft limit when it is initialised, and keeps the former value to itself. A launcher
// must pass on what slurmstepd had set. This package imports nothing, so it is initialised before syscall is (packages
// without uninitialised imports go in the order of their import paths), and asks the kernel itself: hence the few lines
// of assembly. A test runs a program under `ulimit -n` to hold this.
package early

const rlimitNofile = 7

type rlimit struct{ soft, hard uint64 }

var files = startFiles()

// getrlimit is in assembly. It returns the kernel's answer, negative for an error.
//
//go:noescape
func getrlimit(resource int, into *rlimit) int

func startFiles() (l rlimit) {
	if getrlimit(rlimitNofile, &l) < 0 {
		return rlimit{}
	}
	return l
}

// Files is the soft and hard limit of open files (RLIMIT_NOFILE) at the start of this process; zeros where the kernel
// did not say.
func Files() (soft, hard uint64) { return files.soft, files.hard }
