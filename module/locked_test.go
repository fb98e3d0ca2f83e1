package module

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLockWordIsFound(t *testing.T) {
	assert.NotZero(t, lockWord())
}

func TestLockedTellsWhetherAGoroutineIsLocked(t *testing.T) {
	for _, word := range []uintptr{lockWord(), 0} {
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for range 3 {
					assert.False(t, lockedAt(word))
					runtime.LockOSThread()
					assert.True(t, lockedAt(word))
					runtime.LockOSThread()
					runtime.Gosched()
					assert.True(t, lockedAt(word))
					runtime.UnlockOSThread()
					assert.True(t, lockedAt(word))
					runtime.UnlockOSThread()
					assert.False(t, lockedAt(word))
				}
			})
		}
		wg.Wait()
	}
}

func BenchmarkLocked(b *testing.B) {
	word := lockWord()
	for b.Loop() {
		lockedAt(word)
	}
}

func BenchmarkLockedByTrace(b *testing.B) {
	for b.Loop() {
		lockedByTrace()
	}
}
