package supervise

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// CheckGroups returns an error where this process is in a group that is not among the allowed ones. Container runtimes
// add to the groups that a pod asks for those that the image's /etc/group lists for the pod's user: who may choose the
// image could join any group, and read its files on shared file systems.
func CheckGroups(allowed []int) error {
	has, err := os.Getgroups()
	if err != nil {
		return fmt.Errorf("groups of this process: %w", err)
	}
	foreign := foreignGroups(append(has, os.Getgid(), os.Getegid()), allowed)
	if len(foreign) == 0 {
		return nil
	}
	return fmt.Errorf(
		"the image's /etc/group puts uid %d into group %s, which the user is not in: remove it there", os.Getuid(), list(foreign))
}

// foreignGroups returns the groups that are not allowed, each once, in order.
func foreignGroups(has, allowed []int) []int {
	foreign := slices.DeleteFunc(slices.Clone(has), func(gid int) bool { return slices.Contains(allowed, gid) })
	slices.Sort(foreign)
	return slices.Compact(foreign)
}

func list(gids []int) string {
	words := make([]string, len(gids))
	for i, gid := range gids {
		words[i] = strconv.Itoa(gid)
	}
	return strings.Join(words, ", ")
}
