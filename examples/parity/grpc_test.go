package parity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gsgi/gsgi/examples/parity/cases"
)

// caller is a client of grpc-go, all of whose calls name the case.
type caller struct{ *grpc.ClientConn }

// grpcWays are how a client of grpc-go gets to a server.
func grpcWays(s *server) map[string]func() (*grpc.ClientConn, error) {
	return map[string]func() (*grpc.ClientConn, error){
		"TLS": func() (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+s.tls, grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(world.roots, "localhost")))
		},
		"cleartext": func() (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+s.h2c, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
		},
	}
}

func method(name string) string { return "/" + cases.GRPCService + "/" + name }

// calling gives a context whose calls reach the service.
func calling(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, strings.ToLower(cases.Header), "grpc-go")
}

func (c caller) unary(ctx context.Context, name, text string, options ...grpc.CallOption) (string, error) {
	out := new(cases.Text)
	err := c.Invoke(calling(ctx), method(name), &cases.Text{Value: text}, out, options...)
	return out.Value, err
}

// open begins a stream, and sends the texts.
func (c caller) open(ctx context.Context, t *testing.T, name string, texts ...string) grpc.ClientStream {
	t.Helper()
	stream, err := c.NewStream(calling(ctx), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if err := stream.SendMsg(&cases.Text{Value: text}); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// receive reads messages to the end of the stream, which nil stands for.
func receive(stream grpc.ClientStream) (texts []string, err error) {
	for {
		in := new(cases.Text)
		if err := stream.RecvMsg(in); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return texts, err
		}
		texts = append(texts, in.Value)
	}
}

func TestGRPC(t *testing.T) {
	for _, kind := range []string{standard, nginx, apache} {
		s := world.servers[kind]
		for name, dial := range grpcWays(s) {
			t.Run(kind+" "+name, func(t *testing.T) {
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for _, call := range grpcCalls {
					t.Run(call.name, func(t *testing.T) {
						ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
						defer cancel()
						call.make(ctx, t, caller{conn})
					})
				}
			})
		}
		if kind != standard {
			if err := s.empty(); err != nil {
				t.Error(err)
			}
		}
	}
}

var grpcCalls = []struct {
	name string
	make func(ctx context.Context, t *testing.T, c caller)
}{
	{"unary, with metadata at both ends", grpcUnary},
	{"unary, compressed and large", grpcLarge},
	{"an error, with details", grpcError},
	{"a method that nobody has", grpcUnknown},
	{"a stream of the server", grpcServerStream},
	{"a stream of the server that fails", grpcHalf},
	{"a stream of the client", grpcClientStream},
	{"an answer before the client has said all", grpcEarly},
	{"both ways in turn", grpcBoth},
	{"many at a time", grpcMany},
	{"the time is over", grpcDeadline},
	{"the client gives up", grpcCancel},
	{"the client gives up while it receives", grpcCancelStream},
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || !strings.Contains(s.Message(), text) {
		t.Errorf("%v %q, and not %v with %q", s.Code(), s.Message(), code, text)
	}
}

func grpcUnary(ctx context.Context, t *testing.T, c caller) {
	var header, trailer metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, "x-ask", "a", "x-ask", "b")
	text, err := c.unary(ctx, "Upper", "hello", grpc.Header(&header), grpc.Trailer(&trailer))
	if text != "HELLO" || err != nil {
		t.Fatalf("%q %v", text, err)
	}
	// In Apache several values are one, with commas.
	head := strings.ReplaceAll(strings.Join(header["x-head"], " "), ", ", "+")
	if got := fmt.Sprintf("%q %q", head, header["x-raw-bin"]); got != `"a+b" ["\x00\xff"]` {
		t.Errorf("the header has %s", got)
	}
	if got := trailer["x-tail"]; !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("the trailer has %q", got)
	}
}

func grpcLarge(ctx context.Context, t *testing.T, c caller) {
	word := strings.Repeat("words ", 500_000)
	for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
		text, err := c.unary(ctx, "Upper", word, append(options, grpc.MaxCallRecvMsgSize(8<<20))...)
		if text != strings.ToUpper(word) || err != nil {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	}
}

func grpcError(ctx context.Context, t *testing.T, c caller) {
	_, err := c.unary(ctx, "Fail", "hello")
	wantCode(t, err, codes.NotFound, "no such wörd, 100%\nsorry")
	details := status.Convert(err).Details()
	if len(details) != 1 || details[0].(*cases.Text).Value != "detail" {
		t.Errorf("details %v", details)
	}
}

func grpcUnknown(ctx context.Context, t *testing.T, c caller) {
	_, err := c.unary(ctx, "None", "hello")
	wantCode(t, err, codes.Unimplemented, "unknown method None")
}

func grpcServerStream(ctx context.Context, t *testing.T, c caller) {
	stream := c.open(ctx, t, "Letters", strings.Repeat("abc", 500))
	stream.CloseSend()
	texts, err := receive(stream)
	if err != nil || strings.Join(texts, "") != strings.Repeat("abc", 500) || stream.Trailer()["x-tail"] == nil {
		t.Errorf("%d messages, %v %v", len(texts), stream.Trailer(), err)
	}
}

func grpcHalf(ctx context.Context, t *testing.T, c caller) {
	stream := c.open(ctx, t, "Half", "x")
	stream.CloseSend()
	texts, err := receive(stream)
	if !slices.Equal(texts, []string{"begun"}) {
		t.Errorf("%q", texts)
	}
	wantCode(t, err, codes.DataLoss, "half")
}

func grpcClientStream(ctx context.Context, t *testing.T, c caller) {
	stream := c.open(ctx, t, "Join", slices.Repeat([]string{"one ", strings.Repeat("x", 10_000), " "}, 30)...)
	stream.CloseSend()
	texts, err := receive(stream)
	if err != nil || len(texts) != 1 || texts[0] != strings.Repeat("one "+strings.Repeat("x", 10_000)+" ", 30) {
		t.Errorf("%d messages, %v", len(texts), err)
	}
}

func grpcEarly(ctx context.Context, t *testing.T, c caller) {
	stream := c.open(ctx, t, "Early", "x")
	_, err := receive(stream)
	wantCode(t, err, codes.ResourceExhausted, "enough")
}

func grpcBoth(ctx context.Context, t *testing.T, c caller) {
	stream := c.open(ctx, t, "Echo")
	for i := range 20 {
		text := fmt.Sprint("message ", i)
		in := new(cases.Text)
		if err := errors.Join(stream.SendMsg(&cases.Text{Value: text}), stream.RecvMsg(in)); err != nil || in.Value != text {
			t.Fatalf("%q %v", in.Value, err)
		}
	}
	stream.CloseSend()
	if texts, err := receive(stream); texts != nil || err != nil {
		t.Errorf("then %q %v", texts, err)
	}
}

func grpcMany(ctx context.Context, t *testing.T, c caller) {
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			text := fmt.Sprint("n", i)
			if got, err := c.unary(ctx, "Upper", text); got != strings.ToUpper(text) || err != nil {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	wg.Wait()
}

// wantReport waits for what a handler says at its end.
func wantReport(t *testing.T, name string, lines ...string) {
	t.Helper()
	reports := gather(name, "", 1, 10*time.Second)
	if len(reports) != 1 || !slices.Contains(lines, strings.Join(reports[0].Lines, "; ")) {
		t.Errorf("the handler reports %v and not %q", reports, lines)
	}
}

// grpcDeadline gives more time until the call has reached its handler.
func grpcDeadline(ctx context.Context, t *testing.T, c caller) {
	for limit := 150 * time.Millisecond; limit < time.Minute; limit *= 4 {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		_, err := c.unary(ctx, "Wait", "time")
		wantCode(t, err, codes.DeadlineExceeded, "")
		switch reports := gather("time", "", 2, limit); len(reports) {
		case 0:
			continue
		case 2:
			// The client's reset may come first.
			if end := reports[1].Lines[0]; end != "context deadline exceeded, limited true" && end != "context canceled, limited true" {
				t.Errorf("the handler ends with %q", end)
			}
			return
		default:
			t.Fatalf("the handler reports %v", reports)
		}
	}
}

func grpcCancel(ctx context.Context, t *testing.T, c caller) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		_, err := c.unary(ctx, "Wait", "cancel")
		done <- err
	}()
	wantReport(t, "cancel", "begun")
	cancel()
	wantCode(t, <-done, codes.Canceled, "")
	wantReport(t, "cancel", "context canceled, limited true", "context canceled, limited false")
}

func grpcCancelStream(ctx context.Context, t *testing.T, c caller) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := c.open(ctx, t, "Endless", "endless")
	stream.CloseSend()
	for range 3 {
		if err := stream.RecvMsg(new(cases.Text)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wantReport(t, "endless", "context canceled")
}
