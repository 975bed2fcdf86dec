// Package version holds what the binaries say to --version.
package version

// Version is set by the linker.
var Version = "dev"
