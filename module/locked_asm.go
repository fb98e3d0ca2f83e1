//go:build amd64 || arm64

package module

import "unsafe"

// record is the runtime's record of the calling goroutine.
func record() unsafe.Pointer
