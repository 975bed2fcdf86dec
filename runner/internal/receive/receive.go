// Package receive writes a file that is broadcast to the nodes of a job, as slurmd does for sbcast.
package receive

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options say how the file is to be.
type Options struct {
	// Mode is its permissions.
	Mode os.FileMode
	// Modified is the time of its last change; zero for now.
	Modified time.Time
	// Force replaces a file that is there.
	Force bool
}

// File writes all of from to a file. It appears there when it is whole, or not at all.
func File(from io.Reader, path string, o Options) error {
	out, err := os.CreateTemp(filepath.Dir(path), ".sbcast-*")
	if err != nil {
		return fmt.Errorf("%s can't be made: %w", path, err)
	}
	defer os.Remove(out.Name()) // gone already after a rename
	_, err = io.Copy(out, from)
	if err == nil {
		err = out.Chmod(o.Mode)
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err == nil && !o.Modified.IsZero() {
		err = os.Chtimes(out.Name(), o.Modified, o.Modified)
	}
	switch {
	case err != nil:
	case o.Force:
		err = os.Rename(out.Name(), path)
	default:
		err = os.Link(out.Name(), path) // fails where there is one
	}
	if err != nil {
		return fmt.Errorf("%s can't be written: %w", path, err)
	}
	return nil
}
