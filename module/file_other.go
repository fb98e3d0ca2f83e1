//go:build !linux

package module

func duplicate(uintptr) int { return -1 }
