//go:build linux && cgo

package bridgetest

import (
	"net/http"
	"testing"
)

// BenchmarkRoundTrip sends requests through the real rings, from C threads to
// handlers and back, with the wake-ups: one at a time, and from a crowd.
func BenchmarkRoundTrip(b *testing.B) {
	hello := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Hello, world\n")) }
	for name, ring := range map[string]bool{"loop": true, "threads": false} {
		b.Run(name, func(b *testing.B) {
			s := serve(b, Config{Slots: 256, Chunks: 64, Ring: ring}, hello)
			b.SetParallelism(16)
			b.Run("alone", func(b *testing.B) {
				for b.Loop() {
					s.Do(&Request{Target: "/", Credit: credit})
				}
			})
			b.Run("crowd", func(b *testing.B) {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						s.Do(&Request{Target: "/", Credit: credit})
					}
				})
			})
		})
	}
}
