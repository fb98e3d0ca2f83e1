package cases

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // what clients may ask for
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
)

// GRPCService is the name of the service that grpc-go serves.
const GRPCService = "parity.Words"

// words are the methods of the service, written out as they are generated
// elsewhere.
var words = grpc.ServiceDesc{
	ServiceName: GRPCService,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{wordMethod("Upper", upper), wordMethod("Fail", failUnary), wordMethod("Wait", waitUnary)},
	Streams: []grpc.StreamDesc{
		{StreamName: "Letters", Handler: letters, ServerStreams: true},
		{StreamName: "Half", Handler: half, ServerStreams: true},
		{StreamName: "Join", Handler: join, ClientStreams: true},
		{StreamName: "Early", Handler: early, ClientStreams: true},
		{StreamName: "Echo", Handler: echoWords, ServerStreams: true, ClientStreams: true},
		{StreamName: "Endless", Handler: endless, ServerStreams: true},
	},
}

func wordMethod(name string, f func(context.Context, *Text) (*Text, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(Text)
		if err := decode(in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}}
}

// grpcSite is the service of grpc-go as a handler.
func grpcSite() http.Handler {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8 << 20))
	s.RegisterService(&words, nil)
	return s
}

func upper(ctx context.Context, in *Text) (*Text, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", strings.Join(md["x-ask"], "+"), "x-raw-bin", "\x00\xff"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "2", "x-tail", "3"))
	return &Text{Value: strings.ToUpper(in.Value)}, nil
}

func failUnary(context.Context, *Text) (*Text, error) {
	s, err := grpcstatus.New(codes.NotFound, "no such wörd, 100%\nsorry").WithDetails(&Text{Value: "detail"})
	if err != nil {
		return nil, err
	}
	return nil, s.Err()
}

// waitUnary ends with its context, and reports how.
func waitUnary(ctx context.Context, in *Text) (*Text, error) {
	report(in.Value, "begun")
	_, limited := ctx.Deadline()
	<-ctx.Done()
	err := ctx.Err()
	report(in.Value, "%v, limited %v", err, limited)
	return nil, err
}

func letters(_ any, stream grpc.ServerStream) error {
	in := new(Text)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	stream.SetTrailer(metadata.Pairs("x-tail", "2"))
	for _, letter := range in.Value {
		if err := stream.SendMsg(&Text{Value: string(letter)}); err != nil {
			return err
		}
	}
	return nil
}

// half fails when some has been sent.
func half(_ any, stream grpc.ServerStream) error {
	if err := errors.Join(stream.RecvMsg(new(Text)), stream.SendMsg(&Text{Value: "begun"})); err != nil {
		return err
	}
	return grpcstatus.Error(codes.DataLoss, "half")
}

func join(_ any, stream grpc.ServerStream) error {
	var all strings.Builder
	for {
		in := new(Text)
		err := stream.RecvMsg(in)
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(&Text{Value: all.String()})
		}
		if err != nil {
			return err
		}
		all.WriteString(in.Value)
	}
}

// early answers before the client has said all.
func early(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(Text)); err != nil {
		return err
	}
	return grpcstatus.Error(codes.ResourceExhausted, "enough")
}

func echoWords(_ any, stream grpc.ServerStream) error {
	for {
		in := new(Text)
		err := stream.RecvMsg(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.SendMsg(in)
		}
		if err != nil {
			return err
		}
	}
}

// endless sends until it cannot, and reports why.
func endless(_ any, stream grpc.ServerStream) error {
	in := new(Text)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	text := &Text{Value: strings.Repeat("more ", 200)}
	for {
		if err := stream.SendMsg(text); err != nil {
			<-stream.Context().Done()
			report(in.Value, "%v", stream.Context().Err())
			return err
		}
	}
}
