package module

import (
	"bytes"
	"runtime"
	"sync"
	"unsafe"
)

// A handler may leave its goroutine locked to its thread, and the thread in a
// state of its own: another name space, another CPU. Such a goroutine must not
// run another handler. There is no function that tells whether it is locked.
// The trace of its stack does, in 1.3 us; the runtime's record of it does in a
// nanosecond, if the word can be found.

// lockWord is where in the record of a goroutine the runtime keeps the thread
// that it is locked to; 0 when that could not be found out.
var lockWord = sync.OnceValue(func() uintptr {
	found := make(chan uintptr)
	go func() { found <- findLockWord() }()
	offset := <-found
	go func() { found <- checkLockWord(offset) }()
	return <-found
})

// lockedAt says whether the calling goroutine is locked to its thread.
func lockedAt(word uintptr) bool {
	if word == 0 {
		return lockedByTrace()
	}
	return *(*uintptr)(unsafe.Add(record(), word)) != 0
}

// recordWords is how much of a record is looked at, less than any has.
const recordWords = 40

func readRecord() (words [recordWords]uintptr) {
	g := record()
	for i := range words {
		words[i] = *(*uintptr)(unsafe.Add(g, uintptr(i)*unsafe.Sizeof(uintptr(0))))
	}
	return words
}

// findLockWord looks for the one word that is the thread while the goroutine
// is locked, as another word always is, and 0 otherwise.
func findLockWord() uintptr {
	if record() == nil {
		return 0
	}
	before := readRecord()
	runtime.LockOSThread()
	once := readRecord()
	runtime.LockOSThread()
	twice := readRecord()
	runtime.UnlockOSThread()
	still := readRecord()
	runtime.UnlockOSThread()
	after := readRecord()

	offset, candidates := 0, 0
	for i, thread := range once {
		if before[i] != 0 || after[i] != 0 || thread == 0 || twice[i] != thread || still[i] != thread {
			continue
		}
		for j := range once {
			if j != i && once[j] == thread && twice[j] == thread && still[j] == thread {
				offset = i
				candidates++
				break
			}
		}
	}
	if candidates != 1 {
		return 0
	}
	return uintptr(offset) * unsafe.Sizeof(uintptr(0))
}

// checkLockWord returns the offset if it tells what the trace tells.
func checkLockWord(offset uintptr) uintptr {
	if offset == 0 || lockedAt(offset) || lockedByTrace() {
		return 0
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !lockedAt(offset) || !lockedByTrace() {
		return 0
	}
	return offset
}

// lockedByTrace reads "goroutine 7 [running, locked to thread]:".
func lockedByTrace() bool {
	var buf [64]byte
	line, _, _ := bytes.Cut(buf[:runtime.Stack(buf[:], false)], []byte("\n"))
	return bytes.Contains(line, []byte("locked to thread"))
}
