package install

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Hosts lays the addresses of a job's pods into the hosts file of an installed dir: pairs are ADDRESS=NAME. Lines that
// somebody else wrote stay, unless they name one of the pods. The file is mounted at /etc/hosts, so it is written in
// place, and at no moment shorter than before or after.
func Hosts(dir string, pairs []string) error {
	path := filepath.Join(dir, "etc", "hosts")
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := withHosts(string(before), pairs)
	if err != nil || text == string(before) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return file.Truncate(int64(len(text)))
}

func withHosts(before string, pairs []string) (string, error) {
	var wanted, pods []string
	for _, pair := range pairs {
		address, name, _ := strings.Cut(pair, "=")
		wanted, pods = append(wanted, address+" "+name), append(pods, name)
	}
	if err := (Files{Hosts: wanted}).check(); err != nil {
		return "", fmt.Errorf("addresses of the job's pods: %w", err)
	}
	lines := append(slices.Clone(baseHosts), wanted...)
	for line := range strings.Lines(before) {
		line = strings.TrimRight(line, "\n")
		words := strings.Fields(line)
		ours := slices.ContainsFunc(words, func(word string) bool { return slices.Contains(pods, word) })
		if !ours && !slices.Contains(baseHosts, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n", nil
}
