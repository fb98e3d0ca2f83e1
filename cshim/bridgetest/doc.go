// Package bridgetest runs the two halves of the bridge against each other: a
// server in C, made of the files that server modules link, and package module.
//
// It exists because tests cannot use cgo themselves, and because a library
// built with the race detector cannot be loaded into a server: here both
// halves are in one executable.
package bridgetest
