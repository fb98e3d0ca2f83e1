// Otherlib is a library of another server module, with a Go runtime of its
// own.
package main

/*
#include <stdint.h>
*/
import "C"

import (
	"runtime"
	"sync/atomic"
)

func main() {}

// other_collect collects garbage while a loop runs that can only be stopped
// by a signal, and sets the number to 2 when that has ended. The loop ends
// when the number is 3.
//
//export other_collect
func other_collect(p *C.uint32_t) {
	state := (*uint32)(p)
	started := make(chan struct{})
	go func() {
		close(started)
		for atomic.LoadUint32(state) != 3 {
		}
	}()
	<-started
	go func() {
		runtime.GC()
		atomic.CompareAndSwapUint32(state, 0, 2)
	}()
}
