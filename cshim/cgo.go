package cshim

// #cgo CFLAGS: -std=gnu99 -Wall -Wextra
// #include "gsgi.h"
import "C"
