package parity

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// overTLS asks a server over HTTP/2 and gives the status, 0 when there is no
// response.
func overTLS(ctx context.Context, t *testing.T, s *server, path string, header http.Header) (int, error) {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: world.roots, ServerName: "localhost"}, Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.tls+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

func TestStreamsThatAreReset(t *testing.T) {
	for _, kind := range []string{nginx, apache} {
		for name, want := range map[string][]string{
			"unready": {"context canceled, wanted false", "closed"}, // before the head
			"endless": {"not wanted", "closed"},                     // within the body
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				defer cancel()
				if _, err := overTLS(ctx, t, world.servers[kind], "/gw/"+name, http.Header{}); err == nil {
					t.Error("the response came to its end")
				}
				reports := gather("gateway "+name, "", 1, 10*time.Second)
				if len(reports) != 1 || !slices.Equal(reports[0].Lines, want) {
					t.Errorf("%v", reports)
				}
				if err := world.servers[kind].empty(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestHeaderListsThatAreTooLarge(t *testing.T) {
	large := http.Header{}
	for i := range 20 {
		large.Set("X-Large-"+string(rune('a'+i)), strings.Repeat("x", 10_000))
	}
	for _, kind := range []string{nginx, apache} {
		t.Run(kind, func(t *testing.T) {
			s := world.servers[kind]
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if status, err := overTLS(ctx, t, s, "/gw/one", large); err == nil && (status < 400 || status >= 500) {
				t.Errorf("status %d", status)
			}
			if status, err := overTLS(ctx, t, s, "/gw/one", http.Header{}); err != nil || status != http.StatusOK {
				t.Errorf("then %d %v", status, err)
			}
			if err := s.empty(); err != nil {
				t.Error(err)
			}
		})
	}
}
