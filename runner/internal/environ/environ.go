// Package environ reads environments given as "NAME=value" strings, which are not this process's own.
package environ

import (
	"slices"
	"strings"
)

// Get is the value of the first entry of a name; empty where there is none.
func Get(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// Without is env without a name.
func Without(env []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
}

// Replaced is env with another value for a name that it has; without the name it stays as it is.
func Replaced(env []string, name, value string) []string {
	out := slices.Clone(env)
	for i, entry := range out {
		if strings.HasPrefix(entry, name+"=") {
			out[i] = name + "=" + value
		}
	}
	return out
}
