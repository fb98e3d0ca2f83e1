package cases

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Text is the message of the service in every direction.
type Text = wrapperspb.StringValue

// The procedures of a service that speaks the protocols Connect, gRPC and
// gRPC-Web.
const (
	UnaryProcedure  = "/parity.Text/Upper"
	FailProcedure   = "/parity.Text/Fail"
	StreamProcedure = "/parity.Text/Letters"
	BidiProcedure   = "/parity.Text/Echo"
)

// rpcSite is the service.
func rpcSite() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(UnaryProcedure, connect.NewUnaryHandler(UnaryProcedure,
		func(_ context.Context, req *connect.Request[Text]) (*connect.Response[Text], error) {
			res := connect.NewResponse(&Text{Value: strings.ToUpper(req.Msg.Value)})
			res.Header().Set("X-Head", "1")
			res.Trailer().Set("X-Tail", "2")
			return res, nil
		}))
	mux.Handle(FailProcedure, connect.NewUnaryHandler(FailProcedure,
		func(context.Context, *connect.Request[Text]) (*connect.Response[Text], error) {
			return nil, connect.NewError(connect.CodeNotFound, errors.New("no such text"))
		}))
	mux.Handle(StreamProcedure, connect.NewServerStreamHandler(StreamProcedure,
		func(_ context.Context, req *connect.Request[Text], stream *connect.ServerStream[Text]) error {
			for _, letter := range req.Msg.Value {
				if err := stream.Send(&Text{Value: string(letter)}); err != nil {
					return err
				}
			}
			return nil
		}))
	mux.Handle(BidiProcedure, connect.NewBidiStreamHandler(BidiProcedure,
		func(_ context.Context, stream *connect.BidiStream[Text, Text]) error {
			for {
				text, err := stream.Receive()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err == nil {
					err = stream.Send(text)
				}
				if err != nil {
					return err
				}
			}
		}))
	return mux
}
