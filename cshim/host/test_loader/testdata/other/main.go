// Program other is a library of somebody else: a second Go runtime.
package main

/*
#include <stdint.h>
*/
import "C"

import (
	"runtime"
	"sync/atomic"
	"time"
)

func main() {}

// other_spin collects garbage while a loop runs that can only be stopped by a
// signal, and sets the number to 2 when that has ended. The loop ends when the
// number is 3.
//
//export other_spin
func other_spin(p *C.uint32_t) {
	state := (*uint32)(p)
	go func() {
		atomic.StoreUint32(state, 1)
		for atomic.LoadUint32(state) != 3 {
		}
	}()
	go func() {
		for atomic.LoadUint32(state) == 0 {
			time.Sleep(time.Millisecond)
		}
		runtime.GC()
		atomic.CompareAndSwapUint32(state, 1, 2)
	}()
}
