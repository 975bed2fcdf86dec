// Package environ reads environments given as "NAME=value" strings, which are not this process's own.
package environ

import "strings"

// Get is the value of the first entry of a name; empty where there is none.
func Get(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}
