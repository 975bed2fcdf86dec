package announce

import (
	"bufio"
	"io"
	"os"
	"strings"
)

const (
	directive = "#SBATCH"
	// What is read of a script at most: sbatch itself takes directives in front of the first command only.
	scriptBytes    = 64 << 10
	directivesMost = 200
)

// Directives gives the #SBATCH lines of the script that a command line names: its first word that is a file which
// begins with #!. Where there is none, the script comes from standard input, and sbatch alone has seen it.
func Directives(line []string) []string {
	for _, word := range line[min(1, len(line)):] {
		// A pipe must not be opened: it would wait for its writer, and eat what sbatch is to read.
		if about, err := os.Stat(word); err != nil || !about.Mode().IsRegular() {
			continue
		}
		file, err := os.Open(word)
		if err != nil {
			continue
		}
		found, isScript := directivesOf(io.LimitReader(file, scriptBytes))
		file.Close()
		if isScript {
			return found
		}
	}
	return nil
}

func directivesOf(script io.Reader) (found []string, isScript bool) {
	lines := bufio.NewScanner(script)
	for first := true; lines.Scan() && len(found) < directivesMost; first = false {
		line := lines.Text()
		switch {
		case first && !strings.HasPrefix(line, "#!"):
			return nil, false
		case strings.HasPrefix(line, directive):
			found = append(found, line)
		case line != "" && line[0] != '#':
			return found, true
		}
		isScript = true
	}
	return found, isScript
}
