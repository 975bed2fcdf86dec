// Package procs reads from /proc which processes descend from which.
package procs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Children are those of a process, below root, which is /proc. It reads the lists that the kernel keeps for each thread
// (CONFIG_PROC_CHILDREN: every distribution has it); a list that changes meanwhile may miss one.
func Children(root string, pid int) []int {
	tasks := filepath.Join(root, strconv.Itoa(pid), "task")
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return nil
	}
	var all []int
	for _, thread := range threads {
		list, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "children"))
		if err != nil {
			continue
		}
		for word := range bytes.FieldsSeq(list) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
