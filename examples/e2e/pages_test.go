package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var nginxVersion = regexp.MustCompile(`nginx/[\d.]+`)

// errorPage is what a server sends for a status of its own, with the header
// lines in order and those left out that steady leaves out.
func errorPage(kind string, status, text string, more ...string) string {
	if kind == nginx {
		return nginxPage(status, more...)
	}
	return apachePage(status, text, more...)
}

func nginxPage(status string, more ...string) string {
	body := fmt.Sprintf("<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n"+
		"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", status, status)
	lines := append([]string{
		"Connection: close",
		fmt.Sprintf("Content-Length: %d", len(body)+len("/1.22.1")),
		"Content-Type: text/html",
	}, more...)
	return "HTTP/1.1 " + status + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func apachePage(status, text string, more ...string) string {
	title := status[strings.IndexByte(status, ' ')+1:]
	body := "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\" \"http://www.w3.org/TR/html4/strict.dtd\">\n" +
		"<html><head>\n<title>" + status + "</title>\n</head><body>\n<h1>" + title + "</h1>\n" + text + "</body></html>\n"
	lines := append([]string{
		"Connection: close",
		fmt.Sprintf("Content-Length: %d", len(body)),
		"Content-Type: text/html; charset=iso-8859-1",
	}, more...)
	return "HTTP/1.1 " + status + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// apacheTexts are what httpd says on its pages.
var apacheTexts = map[string]string{
	"500": "<p>The server encountered an internal error or\nmisconfiguration and was unable to complete\nyour request.</p>\n" +
		"<p>Please contact the server administrator at \n [no address given] to inform them of the time this error occurred,\n" +
		" and the actions you performed just before this error.</p>\n" +
		"<p>More information about this error may be available\nin the server error log.</p>\n",
	"503": "<p>The server is temporarily unable to service your\nrequest due to maintenance downtime or capacity\n" +
		"problems. Please try again later.</p>\n",
	"504": "<p>The gateway did not receive a timely response\nfrom the upstream server or application.</p>\n",
}

func TestErrorPagesByteForByte(t *testing.T) {
	const request = "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	cases := []struct{ name, path, status string }{
		{"a panic", "/panic?token=bytes", "500 Internal Server Error"},
		{"a panic of the gateway interface", "/gw/panic?token=bytes", "500 Internal Server Error"},
		{"Goexit", "/goexit", "500 Internal Server Error"},
		{"a header with CR and LF", "/badheader?name=X&value=a%0d%0ab", "500 Internal Server Error"},
		{"gsgi_timeout", "/short/sleep?ms=700", "504 Gateway Time-out"},
		{"gsgi_request_timeout", "/total/sleep?ms=1100", "504 Gateway Time-out"},
	}
	each(t, h1Ways, func(t *testing.T, x *target) {
		for _, c := range cases {
			x.run(t, c.name, func(t *testing.T) {
				status := c.status
				if x.apache() {
					status = strings.Replace(status, "Time-out", "Timeout", 1)
				}
				got := sorted(steady(x.raw(t, fmt.Sprintf(request, c.path))))
				got = nginxVersion.ReplaceAllString(got, "nginx")
				assert.Equal(t, errorPage(x.kind, status, apacheTexts[status[:3]]), got)
			})
		}
	})
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		t.Run("with a full queue", func(t *testing.T) {
			x := busy(t, kind, "30s")
			x.run(t, "503 with Retry-After", func(t *testing.T) {
				g := newGate(t)
				for i := range 2 {
					x.fetch(t, "/wait?"+g.query(fmt.Sprint(i)))
					defer g.next().release()
				}
				x.fetch(t, "/hello")
				x.wantFigure(t, "queued", 1)
				got := sorted(steady(x.raw(t, fmt.Sprintf(request, "/hello"))))
				got = nginxVersion.ReplaceAllString(got, "nginx")
				retry := regexp.MustCompile(`Retry-After: [1-9]\d*`)
				assert.Regexp(t, retry, got)
				got = retry.ReplaceAllString(got, "Retry-After: n")
				status := global(kind, "503 Service Temporarily Unavailable", "503 Service Unavailable")
				assert.Equal(t, errorPage(kind, status, apacheTexts["503"], "Retry-After: n"), got)
			})
		})
	})
}
