package flow

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(Handler())
	t.Cleanup(s.Close)
	return s
}

func TestPatternReads(t *testing.T) {
	want := "000000000000000\n000000000000010\n00000000"
	require.NoError(t, iotest.TestReader(NewPattern(40), []byte(want)))
}

func TestPatternPassesReaderTestsAtItsEnd(t *testing.T) {
	p := NewPattern(1 << 50)
	_, err := p.Seek(-20, io.SeekEnd)
	require.NoError(t, err)
	rest, err := io.ReadAll(p)
	require.NoError(t, err)
	assert.Equal(t, "fe0\n003fffffffffff0\n", string(rest))
}

func TestEventsAreVisibleAtOnceAndGoOnWhereTheyEnded(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/events?every=10ms", nil)
	require.NoError(t, err)
	r.Header.Set("Last-Event-ID", "41")
	w, err := s.Client().Do(r)
	require.NoError(t, err)
	defer w.Body.Close()
	assert.Equal(t, "text/event-stream", w.Header.Get("Content-Type"))

	lines := bufio.NewScanner(w.Body)
	for id := 42; id < 45; id++ {
		require.True(t, lines.Scan())
		assert.Equal(t, fmt.Sprintf("id: %d", id), lines.Text())
		require.True(t, lines.Scan())
		when, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(lines.Text(), "data: "))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), when, time.Second)
		require.True(t, lines.Scan())
		assert.Empty(t, lines.Text())
	}
}

func TestEventsRefuseASillyInterval(t *testing.T) {
	s := serve(t)
	for _, every := range []string{"x", "1ms", "-1s", "1h"} {
		w, err := s.Client().Get(s.URL + "/events?every=" + every)
		require.NoError(t, err)
		w.Body.Close()
		assert.Equal(t, http.StatusBadRequest, w.StatusCode, every)
	}
}

func hashOf(t *testing.T, w *http.Response, err error) receipt {
	t.Helper()
	require.NoError(t, err)
	defer w.Body.Close()
	require.Equal(t, http.StatusOK, w.StatusCode)
	var got receipt
	require.NoError(t, json.NewDecoder(w.Body).Decode(&got))
	return got
}

func TestUploadHashesABodyAndAFormsFile(t *testing.T) {
	s := serve(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	want := fmt.Sprintf("%x", sha256.Sum256(data))

	w, err := s.Client().Post(s.URL+"/upload", "application/octet-stream", bytes.NewReader(data))
	got := hashOf(t, w, err)
	assert.Equal(t, int64(len(data)), got.Bytes)
	assert.Equal(t, want, got.SHA256)

	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	require.NoError(t, m.WriteField("before", "x"))
	f, err := m.CreateFormFile("file", "data.bin")
	require.NoError(t, err)
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	w, err = s.Client().Post(s.URL+"/upload", m.FormDataContentType(), &form)
	got = hashOf(t, w, err)
	assert.Equal(t, int64(len(data)), got.Bytes)
	assert.Equal(t, want, got.SHA256)
}

func TestUploadRefusesAFormWithoutAFile(t *testing.T) {
	s := serve(t)
	for _, body := range []string{"--b\r\nContent-Disposition: form-data; name=x\r\n\r\nx\r\n--b--\r\n", "--b\r\n", ""} {
		w, err := s.Client().Post(s.URL+"/upload", "multipart/form-data; boundary=b", strings.NewReader(body))
		require.NoError(t, err)
		w.Body.Close()
		assert.Equal(t, http.StatusBadRequest, w.StatusCode)
	}
}

func TestDownloadIsAsLongAsAskedFor(t *testing.T) {
	s := serve(t)
	for _, n := range []int64{0, 1, 16, 1 << 20} {
		w, err := s.Client().Get(fmt.Sprintf("%s/download?bytes=%d", s.URL, n))
		require.NoError(t, err)
		got, err := io.Copy(io.Discard, w.Body)
		require.NoError(t, err)
		w.Body.Close()
		assert.Equal(t, n, got)
		assert.Equal(t, n, w.ContentLength)
	}
}

func TestDownloadServesRanges(t *testing.T) {
	s := serve(t)
	r, err := http.NewRequest("GET", s.URL+"/download?bytes=1000000000000", nil)
	require.NoError(t, err)
	r.Header.Set("Range", "bytes=999999999984-")
	w, err := s.Client().Do(r)
	require.NoError(t, err)
	defer w.Body.Close()
	assert.Equal(t, http.StatusPartialContent, w.StatusCode)
	got, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%015x\n", int64(999999999984)), string(got))
}

func TestDownloadRefusesWhatIsNoNumber(t *testing.T) {
	s := serve(t)
	for _, n := range []string{"", "x", "-1", "99999999999999999999"} {
		w, err := s.Client().Get(s.URL + "/download?bytes=" + n)
		require.NoError(t, err)
		w.Body.Close()
		assert.Equal(t, http.StatusBadRequest, w.StatusCode, n)
	}
}
