package parity

import (
	"context"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/gsgi/gsgi/examples/parity/cases"
)

// trace writes interim responses down.
func trace(f cases.Fields) context.Context {
	return httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			var lines []string
			for name, values := range header {
				lines = append(lines, " "+name+": "+strings.Join(values, " | "))
			}
			slices.Sort(lines)
			f["interim"] += strconv.Itoa(code) + strings.Join(lines, "") + ";"
			return nil
		},
	})
}
