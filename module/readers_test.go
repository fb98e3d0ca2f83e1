//go:build linux

package module

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

// answered waits for the end of a request, and gives it up when it hangs.
func answered(t *testing.T, c *fakehost.Call) {
	t.Helper()
	select {
	case <-c.Done:
	case <-time.After(10 * time.Second):
		t.Error("the response never comes")
		c.Tell(bridge.HostGone)
		<-c.Done
	}
}

func TestTwoReadersOfABodySeeItsEnd(t *testing.T) {
	pr, pw := io.Pipe()
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ends := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := r.Body.Read(make([]byte, 1))
				ends <- err
			}()
		}
		time.Sleep(10 * time.Millisecond)
		pw.Close()
		for range 2 {
			assert.ErrorIs(t, <-ends, io.EOF)
		}
	})
	c, err := w.Submit(&fakehost.Request{Method: "POST", Target: "/", Stream: pr, Length: -1})
	require.NoError(t, err)
	answered(t, c)
}

// What is left of the body is read before the response begins.
func TestResponseBesideAReaderOfTheBody(t *testing.T) {
	pr, pw := io.Pipe()
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		go io.Copy(io.Discard, r.Body)
		time.Sleep(10 * time.Millisecond)
		time.AfterFunc(10*time.Millisecond, func() {
			pw.Write([]byte("x"))
			pw.Close()
		})
		w.Write(make([]byte, 10_000))
	})
	c, err := w.Submit(&fakehost.Request{Method: "POST", Target: "/", Stream: pr, Length: -1})
	require.NoError(t, err)
	answered(t, c)
}

// Readers that outlive their request leave the news of the slot's next one to
// its own reader.
func TestReadersThatAreLeftOver(t *testing.T) {
	requests := 0
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		if requests == 1 {
			for range 3 {
				go r.Body.Read(make([]byte, 1))
			}
			time.Sleep(10 * time.Millisecond)
			return
		}
		text, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "body", string(text))
	})
	pr, pw := io.Pipe()
	defer pw.Close()
	w.do(t, &fakehost.Request{Method: "POST", Target: "/", Stream: pr, Length: 10})
	pr, pw = io.Pipe()
	c, err := w.Submit(&fakehost.Request{Method: "POST", Target: "/", Stream: pr, Length: 4})
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond)
	go func() {
		pw.Write([]byte("body"))
		pw.Close()
	}()
	answered(t, c)
}
