package parity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/gsgi/gsgi/examples/parity/cases"
)

// named adds the name of the case to requests.
type named struct{ http.RoundTripper }

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set(cases.Header, "connect")
	return n.RoundTripper.RoundTrip(r)
}

func TestRemoteProcedures(t *testing.T) {
	protocols := map[string][]connect.ClientOption{
		"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	}
	for _, kind := range []string{standard, nginx, apache} {
		s := world.servers[kind]
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: world.roots, ServerName: "localhost"}, Protocols: new(http.Protocols),
		}
		transport.Protocols.SetHTTP2(true)
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: named{transport}}
		for name, options := range protocols {
			t.Run(kind+" "+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				call := func(procedure string) *connect.Client[cases.Text, cases.Text] {
					return connect.NewClient[cases.Text, cases.Text](client, "https://"+s.tls+procedure, options...)
				}
				unary(ctx, t, call(cases.UnaryProcedure))
				failed(ctx, t, call(cases.FailProcedure))
				streamed(ctx, t, call(cases.StreamProcedure))
				both(ctx, t, call(cases.BidiProcedure))
			})
		}
	}
}

type rpc = connect.Client[cases.Text, cases.Text]

func unary(ctx context.Context, t *testing.T, c *rpc) {
	t.Helper()
	res, err := c.CallUnary(ctx, connect.NewRequest(&cases.Text{Value: "hello"}))
	if err != nil {
		t.Fatal(err)
	}
	if res.Msg.Value != "HELLO" || res.Header().Get("X-Head") != "1" || res.Trailer().Get("X-Tail") != "2" {
		t.Errorf("%q %v %v", res.Msg.Value, res.Header(), res.Trailer())
	}
}

func failed(ctx context.Context, t *testing.T, c *rpc) {
	t.Helper()
	_, err := c.CallUnary(ctx, connect.NewRequest(&cases.Text{Value: "hello"}))
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(fmt.Sprint(err), "no such text") {
		t.Errorf("%v", err)
	}
}

func streamed(ctx context.Context, t *testing.T, c *rpc) {
	t.Helper()
	stream, err := c.CallServerStream(ctx, connect.NewRequest(&cases.Text{Value: "hello"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var text string
	for stream.Receive() {
		text += stream.Msg().Value + " "
	}
	if text != "h e l l o " || stream.Err() != nil {
		t.Errorf("%q %v", text, stream.Err())
	}
}

// both sends the next message when the answer to the one before has come.
func both(ctx context.Context, t *testing.T, c *rpc) {
	t.Helper()
	stream := c.CallBidiStream(ctx)
	for i := range 5 {
		text := fmt.Sprintf("message %d", i)
		if err := stream.Send(&cases.Text{Value: text}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Receive()
		if err != nil || got.Value != text {
			t.Fatalf("%v %v", got, err)
		}
	}
	if err := stream.CloseRequest(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
	if err := stream.CloseResponse(); err != nil {
		t.Error(err)
	}
}
